package revalidator

import (
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// TestMeterDrops: packets dropped by meters are counted by port and kind, also after another
// program has recreated a meter, and logged at most every limitedPause.
func TestMeterDrops(t *testing.T) {
	var reported []event.Event
	r := &Revalidator{}
	m := newMeters(nil, nil, func(e event.Event) { reported = append(reported, e) }, &r.counters.storm)
	broadcast := &meter{Meter: policy.Meter{Meter: dpif.Meter{ID: 1, PacketsPerSecond: 20}, Port: "a",
		Kind: policy.StormBroadcast}}
	unicast := &meter{Meter: policy.Meter{Meter: dpif.Meter{ID: 2, PacketsPerSecond: 30}, Port: "a",
		Kind: policy.StormUnknownUnicast}}
	other := &meter{Meter: policy.Meter{Meter: dpif.Meter{ID: 3, PacketsPerSecond: 40}, Port: "b",
		Kind: policy.StormBroadcast}}
	now := time.Hour
	for _, step := range []struct {
		m       *meter
		dropped uint64
		after   time.Duration
	}{
		{broadcast, 0, 0}, {broadcast, 5, time.Second}, {broadcast, 9, 2 * time.Second}, {unicast, 7, 2 * time.Second},
		{broadcast, 9, 10 * time.Second}, {broadcast, 9, 11 * time.Second}, // 4 more were not logged yet
		{broadcast, 2, 30 * time.Second}, {other, 100, 30 * time.Second}, {other, 100, 60 * time.Second},
	} {
		m.count(step.m, step.dropped, now+step.after)
	}
	want := []event.Event{
		StormLimited{Port: "a", Kind: "broadcast", Lost: 5, Limit: 20},
		StormLimited{Port: "a", Kind: "unknown_unicast", Lost: 7, Limit: 30},
		StormLimited{Port: "a", Kind: "broadcast", Lost: 4, Limit: 20},
		StormLimited{Port: "a", Kind: "broadcast", Lost: 2, Limit: 20},
		StormLimited{Port: "b", Kind: "broadcast", Lost: 100, Limit: 40},
	}
	if d := cmp.Diff(want, reported); d != "" {
		t.Errorf("events (-want +got):\n%s", d)
	}
	if d := cmp.Diff(map[string]policy.StormDrops{"a": {11, 0, 7}, "b": {100, 0, 0}}, r.StormDrops()); d != "" {
		t.Errorf("by port (-want +got):\n%s", d)
	}
	if got := r.Counters().Storm; got != (policy.StormDrops{111, 0, 7}) || got.Sum() != 118 {
		t.Errorf("of all ports: %d", got)
	}
}
