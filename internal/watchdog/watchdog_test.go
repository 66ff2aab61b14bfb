package watchdog

import (
	"context"
	"slices"
	"sync/atomic"
	"testing"
	"time"
)

// heart is a pulse with two goroutines that make a round when nudged, unless they are stuck.
type heart struct {
	rounds [2]atomic.Uint64
	stuck  [2]atomic.Bool
	nudges atomic.Uint64
}

func (h *heart) Rounds() []Rounds {
	return []Rounds{{Name: "a", Count: h.rounds[0].Load()}, {Name: "b", Count: h.rounds[1].Load()}}
}

func (h *heart) Nudge() {
	h.nudges.Add(1)
	for i := range h.rounds {
		if !h.stuck[i].Load() {
			h.rounds[i].Add(1)
		}
	}
}

// TestWatchdog: it is fed as long as all goroutines make rounds, not just by time.
func TestWatchdog(t *testing.T) {
	first, second := &heart{}, &heart{}
	var current atomic.Pointer[heart]
	current.Store(first)
	fed, withheld := make(chan struct{}, 1000), make(chan []string, 1000)
	w := New(Config{
		Interval: 20 * time.Millisecond,
		Pulse:    func() Pulse { return current.Load() },
		Feed:     func() { fed <- struct{}{} },
		Withheld: func(late []string, _ time.Duration) { withheld <- late },
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); w.Run(ctx) }()
	feeds := func(what string) {
		t.Helper()
		select {
		case <-fed:
		case late := <-withheld:
			t.Fatalf("%s: withheld for %q", what, late)
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: not fed", what)
		}
	}
	for range 5 {
		feeds("all go round")
	}

	first.stuck[1].Store(true)
	// A feed for an earlier round may still come.
	select {
	case late := <-withheld:
		if !slices.Equal(late, []string{"b"}) {
			t.Errorf("late is %q, want b", late)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("a goroutine is stuck, and the watchdog is not withheld")
	}
	for len(fed) > 0 {
		<-fed
	}
	nudges := first.nudges.Load()
	time.Sleep(10 * w.cfg.Interval) // nothing may happen meanwhile
	if len(fed) > 0 || len(withheld) > 0 || first.nudges.Load() != nudges {
		t.Errorf("while one is stuck: fed %d times, reported %d more times", len(fed), len(withheld))
	}
	// It is fed as soon as the last goroutine makes a round.
	first.stuck[1].Store(false)
	first.rounds[1].Add(1)
	feeds("the stuck one goes on")
	feeds("and again")

	// A new datapath counts as progress.
	first.stuck[0].Store(true)
	current.Store(second)
	for range 3 {
		feeds("another pulse")
	}
	cancel()
	<-done
}
