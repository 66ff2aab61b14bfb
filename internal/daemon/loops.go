package daemon

import (
	"context"
	"slices"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/config"
	"dpifd/internal/loopguard"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/vswitch"
)

// loopModes are what the words of loop_guard mean.
var loopModes = map[config.LoopGuard]loopguard.Mode{
	config.LoopGuardOff: loopguard.Off, config.LoopGuardLog: loopguard.Log, config.LoopGuardBlock: loopguard.Block,
}

// loopPorts returns what ports do against loops. Devices of tunnels, mirrors and vports
// that carry nothing send no probes, the local port only if its entry says so.
func loopPorts(cfg *config.Config, ports []policy.Port, silent func(odp.PortNo) bool) []loopguard.Port {
	quiet := map[string]bool{}
	for i := range cfg.Ports {
		p := &cfg.Ports[i]
		quiet[p.MirrorTo] = true
		if p.Type.IsTunnel() {
			quiet[p.Device().Name()] = true
		}
	}
	list := make([]loopguard.Port, 0, len(ports))
	for _, port := range ports {
		l := loopguard.Port{No: port.No, Name: port.Name, SinceMS: port.SinceMS, Mode: loopModes[cfg.LoopGuard],
			VLANs: []uint16{0}}
		entry := cfg.Port(port.Name)
		if entry != nil {
			l.VLANs = entry.VLAN.Sent()
		}
		switch {
		case quiet[port.Name] || silent(port.No):
			l.Mode = loopguard.Off
		case entry != nil && entry.LoopGuard != "":
			l.Mode = loopModes[entry.LoopGuard]
		case port.No == localPort:
			l.Mode = loopguard.Off
		}
		list = append(list, l)
	}
	return list
}

// guardAlike reports whether two configurations have ports do the same against loops.
func guardAlike(a, b *config.Config) bool {
	return !a.GuardsLoops() && !b.GuardsLoops() || a.LoopGuard == b.LoopGuard &&
		slices.EqualFunc(a.Ports, b.Ports, func(p, q config.Port) bool {
			return p.Name == q.Name && p.Match == q.Match && p.Type == q.Type && p.LoopGuard == q.LoopGuard
		})
}

// passesProbes keeps the flows of v from taking probes, for a packet whose key has the
// addresses eth. It reports false if there must be no flow. Of flows in two stages the first
// matches the source, so nothing reaches the second that a probe could be.
func (s *policySwitch) passesProbes(eth []byte, v *policy.Verdict) bool {
	if v.Stage != policy.OneStage {
		return !s.guard.IsSource(eth)
	}
	return s.guard.Narrow(eth, v)
}

// loopGuard sends probes, and closes and opens ports. It belongs to one goroutine.
type loopGuard struct {
	d       *run
	ports   *loopguard.Ports
	next    time.Duration // when the next round of probes is due, by internal/clock
	failure string        // that was told
}

// guardLoops works until ctx ends.
func (d *run) guardLoops(ctx context.Context) {
	g := &loopGuard{d: d, ports: loopguard.NewPorts(d.log.emit)}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.policy.guard.Woken():
		case <-timer.C:
		}
		g.round(clock.Now())
		if timer.Stop(); g.ports.Guards() {
			timer.Reset(max(g.next-clock.Now(), 0))
		}
	}
}

// round takes the probes that came back, and sends new ones if it is time.
func (g *loopGuard) round(now time.Duration) {
	s := &g.d.policy
	list, p := s.portList()
	changed := g.ports.Set(loopPorts(p.file, list, func(no odp.PortNo) bool { return p.silence(no) == reasonUnlisted }))
	s.guard.Take(func(seen loopguard.Sighting) { changed = g.ports.Saw(seen, now) || changed })
	if changed = g.ports.Expire(now) || changed; changed {
		s.close(g.ports.Closed())
	}
	probe := now >= g.next
	if probe {
		g.next = now + loopguard.Interval
	}
	g.d.mu.Lock() // the server stays open meanwhile
	defer g.d.mu.Unlock()
	if g.d.server == nil {
		return
	}
	if changed {
		g.d.server.Revalidate()
	}
	if probe {
		g.probe(g.d.server)
	}
}

// probe sends a round of probes.
func (g *loopGuard) probe(server *vswitch.Server) {
	guard := g.d.policy.guard
	guard.NextRound()
	var frames []vswitch.Frame
	g.ports.Probe(func(no odp.PortNo, vlan uint16) {
		frames = append(frames, vswitch.Frame{Port: no, Data: guard.Probe(no, vlan)})
	})
	failure := ""
	if err := server.Output(frames); err != nil {
		if failure = err.Error(); failure != g.failure {
			g.d.log.emit(evLoopGuardFailed{Err: err})
		}
	}
	g.failure = failure
}
