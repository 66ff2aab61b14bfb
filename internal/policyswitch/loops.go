package policyswitch

import (
	"dpifd/internal/config"
	"dpifd/internal/loopguard"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"slices"
)

// loopModes maps the values of loop_guard to modes.
var loopModes = map[config.LoopGuard]loopguard.Mode{
	config.LoopGuardOff: loopguard.Off, config.LoopGuardLog: loopguard.Log, config.LoopGuardBlock: loopguard.Block,
}

// loopPorts returns what ports do against loops. Devices of tunnels, mirrors and vports that carry
// nothing send no probes; the local port does only if its entry says so.
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

// guardAlike reports whether ports do the same against loops in two configurations.
func guardAlike(a, b *config.Config) bool {
	return !a.GuardsLoops() && !b.GuardsLoops() || a.LoopGuard == b.LoopGuard &&
		slices.EqualFunc(a.Ports, b.Ports, func(p, q config.Port) bool {
			return p.Name == q.Name && p.Match == q.Match && p.Type == q.Type && p.LoopGuard == q.LoopGuard
		})
}

// passesProbes prevents that the flows of v match probes, for a packet whose key has the
// addresses eth. It returns false if there must be no flow. In flows of two stages the first
// stage matches the source, so no probe reaches the second.
func (s *Switch) passesProbes(eth []byte, v *policy.Verdict) bool {
	if v.Stage != policy.OneStage {
		return !s.guard.IsSource(eth)
	}
	return s.guard.Narrow(eth, v)
}

// LoopPorts returns what the ports of the datapath do against loops.
func (s *Switch) LoopPorts() []loopguard.Port {
	list, p := s.portList()
	return loopPorts(p.file, list, func(no odp.PortNo) bool { return p.silence(no) == reasonUnlisted })
}

// Guard returns the guard that sends probes and handles those that come back.
func (s *Switch) Guard() *loopguard.Guard { return s.guard }
