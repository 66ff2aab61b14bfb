package revalidator

import (
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/policy"
)

// meters keeps a policy's meters in the datapath. It belongs to the
// revalidator's goroutine.
type meters struct {
	dp      *dpif.Datapath
	policy  policy.MeterPolicy // nil if the policy has none
	notify  event.Sink
	inForce []dpif.Meter
	tried   bool
	usable  bool
}

func newMeters(dp *dpif.Datapath, p policy.Policy, notify event.Sink) *meters {
	m := &meters{dp: dp, notify: notify}
	m.policy, _ = p.(policy.MeterPolicy)
	return m
}

// configured puts the policy's meters into the datapath when they have changed,
// and tells the policy whether they work.
func (m *meters) configured() {
	if m.policy == nil {
		return
	}
	if list := m.policy.Meters(); !m.tried || !slices.Equal(list, m.inForce) {
		m.put(list)
	}
	m.policy.UseMeters(m.usable)
}

func (m *meters) put(list []dpif.Meter) {
	m.tried, m.usable = true, true
	for _, old := range m.inForce {
		if !slices.ContainsFunc(list, func(n dpif.Meter) bool { return n.ID == old.ID }) {
			// One that stays behind does nothing.
			_ = m.dp.DeleteMeter(old.ID)
		}
	}
	m.inForce = list
	for _, n := range list {
		if err := m.dp.SetMeter(n); err != nil {
			m.usable = false
			m.notify(MetersUnusable{Meters: len(list), Err: err})
			return
		}
	}
}
