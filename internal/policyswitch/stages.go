package policyswitch

import (
	"dpifd/internal/config"
	"dpifd/internal/forward"
	"dpifd/internal/netlink"
	"dpifd/internal/policy"
)

var stages = map[config.Stages]forward.Stages{
	config.StagesAuto: forward.StagesAuto, config.StagesOne: forward.StagesOne, config.StagesTwo: forward.StagesTwo,
}

var _ policy.StagedPolicy = (*Switch)(nil)

// Renewal implements policy.StagedPolicy.
func (s *Switch) Renewal(of []byte, i int, key *netlink.Encoder, v *policy.Verdict) bool {
	p := s.current.Load().staged
	return p != nil && p.Renewal(of, i, key, v)
}

// BalanceStages implements policy.StagedPolicy.
func (s *Switch) BalanceStages(flows, limit int, full bool) []policy.StageChange {
	if p := s.current.Load().staged; p != nil {
		return p.BalanceStages(flows, limit, full)
	}
	return nil
}
