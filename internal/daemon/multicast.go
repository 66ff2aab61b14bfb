package daemon

import (
	"dpifd/internal/clock"
	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/forward"
	"dpifd/internal/snoop"
)

// multicastConfig returns how IP multicast is forwarded.
func multicastConfig(p *config.Policy) forward.MulticastConfig {
	return forward.MulticastConfig{Snooping: p.MulticastSnooping, FloodUnregistered: p.MulticastFloodUnregistered,
		GroupLimit: p.MulticastGroupLimit}
}

// takeGroups takes over the groups and counters of the previous policy.
func (p *inForce) takeGroups(old *inForce) {
	p.pastGroups = old.groupCounters()
	if p.groups != nil && old.groups != nil {
		p.groups.Restore(old.groups.Snapshot())
	}
}

// groupCounters returns the counters of the policy and of those before it.
func (p *inForce) groupCounters() snoop.Counters {
	var now snoop.Counters
	if p.groups != nil {
		now = p.groups.Counters()
	}
	now.Queries += p.pastGroups.Queries
	now.Reports += p.pastGroups.Reports
	now.Malformed += p.pastGroups.Malformed
	now.Refused += p.pastGroups.Refused
	return now
}

// groupCounters returns the counters of groups since the start.
func (s *policySwitch) groupCounters() snoop.Counters { return s.current.Load().groupCounters() }

// groups returns the members of groups, nil if there is no snooping.
func (s *policySwitch) groups() []snoop.Entry {
	if g := s.current.Load().groups; g != nil {
		return g.Snapshot()
	}
	return nil
}

var _ = answer(endpoint.GetGroups, (*run).groupTable)

func (d *run) groupTable(control.None, control.Peer) ([]endpoint.Group, error) {
	now, out := clock.NowMS(), []endpoint.Group{}
	for _, e := range d.policy.groups() {
		g := endpoint.Group{VLAN: e.VLAN, Router: !e.Group.IsValid(), IPv6: e.IPv6, Port: d.policy.portName(e.Port),
			PortNo: uint32(e.Port), ExpiresMS: max(0, e.UntilMS-now)}
		if !g.Router {
			g.Group = e.Group.String()
		}
		out = append(out, g)
	}
	return out, nil
}
