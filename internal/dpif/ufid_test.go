package dpif

import "testing"

func TestUFID(t *testing.T) {
	for _, ms := range []int64{0, 1, 999_999, 1<<40 - 1} {
		a, b := newUFID(1<<63|5, ms), newUFID(1<<63|6, ms)
		if got, ok := a.decidedMS(); got != ms || !ok {
			t.Errorf("%v: %d, %v; want %d", a, got, ok, ms)
		}
		if a == b || a == newUFID(1<<63|5, ms+1) {
			t.Errorf("%v is not the flow's own", a)
		}
	}
	if ms, ok := (UFID{1, 2, 3}).decidedMS(); ok {
		t.Errorf("another program's UFID has the time %d", ms)
	}
}

// TestMadeMS: a flow's UFID tells when it was made, or the dump before the one that
// first showed it does.
func TestMadeMS(t *testing.T) {
	r := newTestRevalidator(0)
	const now = 1_000_000
	foreign := UFID{1, 2, 3}
	for _, tt := range []struct {
		flow    Flow
		at      int64
		want    int64
		guessed bool
	}{
		{Flow{UFID: newUFID(9, 990_123), HasUFID: true}, now, 990_123, false},
		{Flow{UFID: foreign, HasUFID: true}, now, now - 500, true},
		{Flow{UFID: foreign, HasUFID: true}, now + 3_000, now - 500, true},
		{Flow{Key: []byte{8, 0, 3, 0, 1, 0, 0, 0}}, now, now - 500, true},
		{Flow{Key: []byte{8, 0, 3, 0, 1, 0, 0, 0}}, now + 4_000, now - 500, true},
	} {
		r.pace.begin(tt.at)
		if got := r.madeMS(&tt.flow, tt.at); got != tt.want || r.pace.guessed != tt.guessed {
			t.Errorf("%+v at %d: %d, a guess: %v; want %d, %v", tt.flow, tt.at, got, r.pace.guessed, tt.want, tt.guessed)
		}
		r.unused, r.unusedBefore = r.unusedBefore, r.unused
	}
}
