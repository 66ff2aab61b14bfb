package policyswitch

import (
	"dpifd/internal/snoop"
)

// takeGroups takes over the groups and counters of the previous policy.
func (p *inForce) takeGroups(old *inForce) {
	p.pastGroups = old.groupCounters()
	if p.groups != nil && old.groups != nil {
		p.groups.Restore(old.groups.Snapshot())
	}
}

// GroupCounters returns the counters of the policy and of those before it.
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

// GroupCounters returns the counters of groups since the start.
func (s *Switch) GroupCounters() snoop.Counters { return s.current.Load().groupCounters() }

// Groups returns the members of groups, nil if there is no snooping.
func (s *Switch) Groups() []snoop.Entry {
	if g := s.current.Load().groups; g != nil {
		return g.Snapshot()
	}
	return nil
}
