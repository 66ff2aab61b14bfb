package revalidator

import (
	"dpifd/internal/event"
	"dpifd/internal/policy"
)

// FlowStagesChanged says that a VLAN's flows change to another number of stages.
type FlowStagesChanged struct {
	event.OfDatapath
	VLAN  uint16 `event:"vlan"`
	From  string `event:"from"`
	To    string `event:"to"`
	Flows int    `event:"flows"`
}

var _ = event.Declare[FlowStagesChanged](event.Kind{Name: "flow_stages_changed", Level: event.Info,
	Meaning: "With `flows.stages: auto`, the number of stages in which flows of a VLAN are installed has changed: to " +
		"`two` when the datapath has reached half of the flow limit and two stages need at most half of these " +
		"flows, to `one` when so few stations are left that their pairs fit easily. The flows of the VLAN " +
		"are deleted, and come back as packets need them. VLAN 0 is untagged frames on trunks, and all VLANs with " +
		"policy.shared_learning.",
	Advice: "Nothing.",
})

// balanceStages lets the policy choose the number of stages of flows. full says that all flows were
// just dumped. A change increases the policy's generation, so the next cycle deletes the flows that
// no longer fit.
func (r *Revalidator) balanceStages(flows int, full bool) {
	p, ok := r.policy.(policy.StagedPolicy)
	if !ok {
		return
	}
	for _, c := range p.BalanceStages(flows, r.limit.current, full) {
		e := FlowStagesChanged{VLAN: c.VLAN, From: "one", To: "two", Flows: flows}
		if !c.Two {
			e.From, e.To = e.To, e.From
		}
		r.notify(e)
		r.Wake()
	}
}
