package daemon

import (
	"slices"

	"dpifd/internal/forward"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// localPort is the number of the datapath's local port, OVSP_LOCAL of linux/openvswitch.h.
const localPort odp.PortNo = 0

// dropUnlisted decides packets of a vport that may carry nothing: one flow drops them all,
// unless a static flow names the vport by its number, which that one would overlap.
func (p *inForce) dropUnlisted(in odp.PortNo, v *policy.Verdict) {
	odp.AppendInPortMask(&v.Mask)
	o, static := p.Policy.(*forward.Overlay)
	v.Install = !static || !o.NamesInPort(in)
	v.Refused, v.Reason = true, "port_unlisted"
}

// drops reports whether what comes in by a vport is dropped, because it has no entry in
// the configuration.
func (p *inForce) drops(no odp.PortNo) bool {
	set := p.unlisted.Load()
	return set != nil && (*set)[no]
}

// setPorts tells p of the ports that may carry traffic, and tells of others once. s.mu is
// held.
func (s *policySwitch) setPorts(p *inForce) {
	ports := slices.Clone(s.ports)
	for i := range ports {
		ports[i].OnlyVLAN0 = ports[i].No == localPort && p.hasVLANs
	}
	if !p.dropsUnlisted {
		p.unlisted.Store(nil)
		s.said = nil
		p.SetPorts(ports)
		return
	}
	unlisted, said := map[odp.PortNo]bool{}, map[odp.PortNo]string{}
	var listed []policy.Port
	for _, port := range ports {
		if port.Listed || port.No == localPort && !p.dropsLocal {
			listed = append(listed, port)
			continue
		}
		unlisted[port.No] = true
		said[port.No] = port.Device
		if _, before := s.said[port.No]; !before && s.tell != nil {
			s.tell(evPortUnlisted{Name: port.Device, No: port.No})
		}
	}
	s.said = said
	// Before the policy forgets a port its packets are dropped, and after it knows it
	// they are not.
	before := p.unlisted.Load()
	both := map[odp.PortNo]bool{}
	for no := range unlisted {
		both[no] = true
	}
	if before != nil {
		for no := range *before {
			both[no] = true
		}
	}
	p.unlisted.Store(&both)
	p.SetPorts(listed)
	p.unlisted.Store(&unlisted)
}

// explainUnlisted adds the step to a decision that is only asked about.
func explainUnlisted(v *policy.Verdict) {
	if v.Explain != nil {
		v.Explain("port_unlisted", "the port has no entry in the configuration: dropped (ports_unlisted: drop)")
	}
}
