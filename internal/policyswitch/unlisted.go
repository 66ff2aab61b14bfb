package policyswitch

import (
	"maps"
	"slices"

	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// localPort is the number of the datapath's local port, OVSP_LOCAL of linux/openvswitch.h.
const localPort odp.PortNo = 0

// Reasons for which a vport carries nothing.
const (
	reasonUnlisted = "port_unlisted"
	reasonBlocked  = "port_blocked"
)

// silence returns why a vport carries nothing, "" if it does not.
func (p *inForce) silence(no odp.PortNo) string {
	if set := p.silent.Load(); set != nil {
		return (*set)[no]
	}
	return ""
}

// dropAll decides any packet of a vport that carries nothing: one flow drops them all, unless a
// static flow names the vport by its number, since both would overlap.
func (p *inForce) dropAll(in odp.PortNo, v *policy.Verdict, reason string) {
	odp.AppendInPortMask(&v.Mask)
	o, static := p.Policy.(*forward.Overlay)
	v.Install = !static || !o.NamesInPort(in)
	v.Refused, v.Reason = true, reason
	switch {
	case v.Explain == nil:
	case reason == reasonBlocked:
		v.Explain(reason, "the port is blocked because of a loop: dropped (loop_guard: block)")
	default:
		v.Explain(reason, "the port has no entry in the configuration: dropped (ports_unlisted: drop)")
	}
}

// setPorts passes the ports that may carry traffic to p, and reports those without an entry once.
// The caller holds s.mu.
func (s *Switch) setPorts(p *inForce) {
	silent, reported := map[odp.PortNo]string{}, map[odp.PortNo]string{}
	var ports []policy.Port
	for _, port := range s.ports {
		port.OnlyVLAN0 = port.No == localPort && p.hasVLANs
		switch {
		case s.blocked[port.No]:
			silent[port.No] = reasonBlocked
		case p.dropsUnlisted && !port.Listed && (port.No != localPort || p.dropsLocal):
			silent[port.No] = reasonUnlisted
			reported[port.No] = port.Device
			if _, before := s.reported[port.No]; !before {
				s.notify(PortUnlisted{Name: port.Device, No: port.No})
			}
		default:
			ports = append(ports, port)
		}
	}
	s.reported = reported
	// Packets of a port are dropped before the policy forgets the port, and no longer dropped only
	// after the policy knows it.
	before := map[odp.PortNo]string{}
	if set := p.silent.Load(); set != nil {
		before = *set
	}
	both := maps.Clone(before)
	maps.Copy(both, silent)
	p.silent.Store(&both)
	p.SetPorts(ports)
	p.silent.Store(&silent)
	if !maps.Equal(before, silent) {
		s.silences.Add(1) // flows that were decided in between
	}
	s.guard.Wake()
}

// Block sets the blocked ports; all others carry traffic again.
func (s *Switch) Block(blocked map[odp.PortNo]bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocked = blocked
	s.setPorts(s.current.Load())
}

// portList returns the ports of the datapath and the policy in force.
func (s *Switch) portList() ([]policy.Port, *inForce) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.ports), s.current.Load()
}
