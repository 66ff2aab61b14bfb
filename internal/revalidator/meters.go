package revalidator

import (
	"errors"
	"slices"
	"time"

	"dpifd/internal/backoff"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
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
	never   bool            // the kernel has no meters that work
	retry   backoff.Backoff // of meters that the kernel refused
	looked  time.Duration   // time of the last comparison, by internal/clock
	failure string          // last reported error
}

// meterLook is the interval of comparisons between the datapath's meters and the policy's.
const meterLook = 10 * time.Second

func newMeters(dp *dpif.Datapath, p policy.Policy, notify event.Sink) *meters {
	m := &meters{dp: dp, notify: notify}
	m.policy, _ = p.(policy.MeterPolicy)
	return m
}

// configured installs the policy's meters when they have changed, and tells the policy whether
// they work.
func (m *meters) configured() {
	if m.policy == nil {
		return
	}
	now := clock.Now()
	list := m.policy.Meters()
	switch {
	case !m.tried || !slices.Equal(list, m.inForce):
		m.retry = backoff.Backoff{}
		m.put(list, now)
	case !m.usable && !m.never && m.retry.Due(now):
		m.put(list, now)
	case m.usable && now-m.looked >= meterLook:
		m.look(now)
	}
	m.policy.UseMeters(m.usable)
}

// look creates meters again that another program has deleted.
func (m *meters) look(now time.Duration) {
	m.looked = now
	for _, n := range m.inForce {
		_, _, err := m.dp.MeterStats(n.ID)
		if !errors.Is(err, unix.ENOENT) {
			continue
		}
		if err := m.dp.SetMeter(n); err != nil {
			m.failed(err, now)
			return
		}
		m.notify(MeterRestored{Meter: n.ID})
	}
}

// failed turns storm control off until the next try.
func (m *meters) failed(err error, now time.Duration) {
	m.usable = false
	m.never = errors.Is(err, dpif.ErrNoMeters)
	m.retry = m.retry.Next(now)
	if m.failure != err.Error() {
		m.failure = err.Error()
		m.notify(MetersUnusable{Meters: len(m.inForce), Err: err})
	}
}

func (m *meters) put(list []dpif.Meter, now time.Duration) {
	before := m.inForce
	if !m.usable {
		before = nil
	}
	m.tried, m.usable = true, true
	for _, old := range m.inForce {
		if !slices.ContainsFunc(list, func(n dpif.Meter) bool { return n.ID == old.ID }) {
			// A meter that stays has no effect.
			_ = m.dp.DeleteMeter(old.ID)
		}
	}
	m.inForce = list
	for _, n := range list {
		if slices.Contains(before, n) {
			continue // it keeps its state
		}
		if err := m.dp.SetMeter(n); err != nil {
			m.failed(err, now)
			return
		}
	}
	m.never, m.failure, m.looked = false, "", now
}
