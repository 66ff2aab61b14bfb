package daemon

import (
	"context"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/loopguard"
	"dpifd/internal/odp"
	"dpifd/internal/vswitch"
)

// loopGuard sends probes, and blocks and unblocks ports. It belongs to one goroutine.
type loopGuard struct {
	d       *run
	ports   *loopguard.Ports
	next    time.Duration // when the next round of probes is due, by internal/clock
	failure string        // last reported error
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
		case <-d.policy.Guard().Woken():
		case <-timer.C:
		}
		g.round(clock.Now())
		if timer.Stop(); g.ports.Guards() {
			timer.Reset(max(g.next-clock.Now(), 0))
		}
	}
}

// round handles the probes that came back, and sends new ones when they are due.
func (g *loopGuard) round(now time.Duration) {
	s := g.d.policy
	changed := g.ports.Set(s.LoopPorts())
	s.Guard().Take(func(seen loopguard.Sighting) { changed = g.ports.Saw(seen, now) || changed })
	if changed = g.ports.Expire(now) || changed; changed {
		s.Block(g.ports.Blocked())
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
	guard := g.d.policy.Guard()
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
