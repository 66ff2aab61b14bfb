package reconciler

import (
	"testing"
	"time"
)

func TestRestores(t *testing.T) {
	r := NewRestores()
	granted := 0
	for range 2 * restoreBurst {
		r.Begin()
		if r.Allow() {
			granted++
		}
		if r.Allow() != r.granted || r.Postponed() == r.granted {
			t.Error("one look has two results")
		}
	}
	if granted < restoreBurst || granted > restoreBurst+1 {
		t.Errorf("%d of %d looks restore, want %d", granted, 2*restoreBurst, restoreBurst)
	}
	if r.Begin(); r.Postponed() {
		t.Error("a look without a change is postponed")
	}
	start := time.Now()
	for range eventBurst {
		if held, due := r.EventDue(7, start); held != 0 || !due {
			t.Errorf("one of the first: %d, %v", held, due)
		}
	}
	for i, want := range []struct {
		after time.Duration
		held  uint64
		due   bool
	}{{0, 0, false}, {time.Second, 0, false}, {eventInterval, 2, true}, {eventInterval + time.Second, 0, false},
		{2 * eventInterval, 1, true}} {
		if held, due := r.EventDue(7, start.Add(want.after)); held != want.held || due != want.due {
			t.Errorf("%d: %d, %v", i, held, due)
		}
	}
	if _, due := r.EventDue(8, start); !due {
		t.Error("ports share the limit")
	}
}
