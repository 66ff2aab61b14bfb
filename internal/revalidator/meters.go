package revalidator

import (
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"dpifd/internal/backoff"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// meters keeps a policy's meters in the datapath, and reads how many packets they have dropped. It
// belongs to the revalidator's goroutine.
type meters struct {
	dp      *dpif.Datapath
	policy  policy.MeterPolicy // nil if the policy has none
	notify  event.Sink
	inForce []meter
	tried   bool
	usable  bool
	never   bool            // the kernel has no working meters
	retry   backoff.Backoff // for meters that the kernel rejected
	looked  time.Duration   // when the current look began, by internal/clock
	next    int             // index in inForce of the next meter to check
	failure string          // last reported error
	drops   *stormDrops
}

// meter is a meter in the datapath.
type meter struct {
	policy.Meter
	dropped  uint64        // kernel's count at the last look
	lost     uint64        // of these, packets not logged yet
	reported time.Duration // when storm_limited was logged, by internal/clock; 0 for never
}

// stormDrops counts the packets that meters have dropped since the start, by port.
type stormDrops struct {
	mu     sync.Mutex
	byPort map[string]policy.StormDrops
	sum    policy.StormDrops
}

const (
	// meterLook is the interval between two looks at the datapath's meters, and metersAtOnce the
	// number of meters checked per cycle.
	meterLook    = time.Second
	metersAtOnce = 512
	// limitedPause is the minimum time between two events storm_limited of one meter.
	limitedPause = 10 * time.Second
)

func newMeters(dp *dpif.Datapath, p policy.Policy, notify event.Sink, drops *stormDrops) *meters {
	m := &meters{dp: dp, notify: notify, drops: drops}
	m.policy, _ = p.(policy.MeterPolicy)
	return m
}

// StormDrops returns the number of packets that storm control has dropped since the start, by the
// name of the port's entry. It may be called by any goroutine.
func (r *Revalidator) StormDrops() map[string]policy.StormDrops {
	d := &r.counters.storm
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.byPort)
}

// total returns the drops of all ports.
func (d *stormDrops) total() policy.StormDrops {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.sum
}

func (d *stormDrops) add(port string, kind policy.StormKind, n uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.byPort == nil {
		d.byPort = map[string]policy.StormDrops{}
	}
	p := d.byPort[port]
	p[kind] += n
	d.byPort[port] = p
	d.sum[kind] += n
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
	case !m.tried || !slices.EqualFunc(list, m.inForce, func(a policy.Meter, b meter) bool { return a == b.Meter }):
		m.retry = backoff.Backoff{}
		m.put(list, now)
	case !m.usable && !m.never && m.retry.Due(now):
		m.put(list, now)
	case m.usable && (m.next > 0 || now-m.looked >= meterLook):
		if m.next == 0 {
			m.looked = now
		}
		n := min(m.next+metersAtOnce, len(m.inForce))
		m.look(m.inForce[m.next:n], now, true)
		if m.next = n; n == len(m.inForce) {
			m.next = 0
		}
	}
	m.policy.UseMeters(m.usable)
}

// last reads all meters once more before the end.
func (m *meters) last() {
	if m.usable {
		m.look(m.inForce, clock.Now(), false)
	}
}

// look reads the drops of meters. If restore is set, it recreates meters that another program has
// deleted.
func (m *meters) look(list []meter, now time.Duration, restore bool) {
	for i := range list {
		n := &list[i]
		s, err := m.dp.MeterStats(n.ID)
		switch {
		case err == nil:
			m.count(n, s.Dropped, now)
		case restore && errors.Is(err, unix.ENOENT):
			if err := m.set(n); err != nil {
				m.failed(err, now)
				return
			}
			m.notify(MeterRestored{Meter: n.ID})
		}
	}
}

// count adds the packets that the meter has dropped since the last look.
func (m *meters) count(n *meter, dropped uint64, now time.Duration) {
	if dropped < n.dropped {
		n.dropped = 0 // another program has recreated the meter
	}
	if more := dropped - n.dropped; more > 0 {
		n.dropped = dropped
		n.lost += more
		m.drops.add(n.Port, n.Kind, more)
	}
	if n.lost > 0 && (n.reported == 0 || now-n.reported >= limitedPause) {
		m.notify(StormLimited{Port: n.Port, Kind: n.Kind.String(), Lost: n.lost, Limit: int(n.PacketsPerSecond)})
		n.lost, n.reported = 0, now
	}
}

// set creates a meter, whose counters start at 0.
func (m *meters) set(n *meter) error {
	n.dropped = 0
	return m.dp.SetMeter(n.Meter.Meter)
}

// failed disables storm control until the next attempt.
func (m *meters) failed(err error, now time.Duration) {
	m.usable = false
	m.never = errors.Is(err, dpif.ErrNoMeters)
	m.retry = m.retry.Next(now)
	if m.failure != err.Error() {
		m.failure = err.Error()
		m.notify(MetersUnusable{Meters: len(m.inForce), Err: err})
	}
}

func (m *meters) put(list []policy.Meter, now time.Duration) {
	m.last()
	before := map[uint32]meter{}
	if m.usable {
		for _, n := range m.inForce {
			before[n.ID] = n
		}
	}
	m.tried, m.usable = true, true
	for _, old := range m.inForce {
		if !slices.ContainsFunc(list, func(n policy.Meter) bool { return n.ID == old.ID }) {
			// A meter that is not deleted has no effect.
			_ = m.dp.DeleteMeter(old.ID)
		}
	}
	m.inForce, m.next = make([]meter, len(list)), 0
	for i, n := range list {
		if old := before[n.ID]; old.Meter == n {
			m.inForce[i] = old // it keeps its counters
			continue
		}
		m.inForce[i].Meter = n
		if err := m.set(&m.inForce[i]); err != nil {
			m.failed(err, now)
			return
		}
	}
	m.never, m.failure, m.looked = false, "", now
}
