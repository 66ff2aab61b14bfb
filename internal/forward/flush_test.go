package forward

import (
	"testing"

	"dpifd/internal/odp"
)

// TestFlush: MACs are flushed by port and VLAN, flows are decided again, and old information does
// not teach them again.
func TestFlush(t *testing.T) {
	l := newLearning(t, 10, 1, 2, 3)
	at := int64(1000)
	for i, port := range []odp.PortNo{1, 1, 2, 3} {
		l.table.learn(macKey(uint16(10*(i%2)), host(i)), port, at, true)
	}
	before := l.Generation()
	if n := l.Flush(at, func(_ uint16, port odp.PortNo) bool { return port == 9 }); n != 0 || l.Generation() != before {
		t.Errorf("%d MACs of a port without any, generation %d after %d", n, l.Generation(), before)
	}
	if n := l.Flush(at, func(vlan uint16, port odp.PortNo) bool { return port == 1 && vlan == 10 }); n != 1 ||
		l.Generation() == before {
		t.Errorf("%d MACs of port 1 and VLAN 10, want 1; generation %d after %d", n, l.Generation(), before)
	}
	for i, want := range []bool{true, false, true, true} {
		if _, ok := l.table.lookup(macKey(uint16(10*(i%2)), host(i))); ok != want {
			t.Errorf("MAC %d is known: %v, want %v", i, ok, want)
		}
	}
	if n := l.Flush(at+1, func(uint16, odp.PortNo) bool { return true }); n != 3 || len(l.Snapshot()) != 0 {
		t.Errorf("%d MACs of all, %d left", n, len(l.Snapshot()))
	}
	if got := l.Stats().Entries; got != 0 {
		t.Errorf("%d entries counted", got)
	}
	// The table still works, up to its limit.
	for i := range 10 {
		l.table.learn(macKey(0, host(i)), 2, at+2, true)
	}
	if got := l.Stats(); got.Entries != 10 || got.Evicted != 0 {
		t.Errorf("%d entries, %d evicted", got.Entries, got.Evicted)
	}
}
