package dpif

import "testing"

func TestUFID(t *testing.T) {
	for _, ms := range []int64{0, 1, 999_999, 1<<40 - 1} {
		a, b := NewUFID(1<<63|5, ms), NewUFID(1<<63|6, ms)
		if got, ok := a.DecidedMS(); got != ms || !ok {
			t.Errorf("%v: %d, %v; want %d", a, got, ok, ms)
		}
		if a == b || a == NewUFID(1<<63|5, ms+1) {
			t.Errorf("%v is not the flow's own", a)
		}
	}
	if ms, ok := (UFID{1, 2, 3}).DecidedMS(); ok {
		t.Errorf("another program's UFID has the time %d", ms)
	}
}
