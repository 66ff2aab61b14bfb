package vswitch

import (
	"testing"
	"time"

	"dpifd/internal/backoff"
)

func TestRestores(t *testing.T) {
	r := newRestores()
	granted := 0
	for range 2 * restoreBurst {
		r.begin()
		if r.allow() {
			granted++
		}
		if r.allow() != r.granted || r.postponed() == r.granted {
			t.Error("one look has two answers")
		}
	}
	if granted < restoreBurst || granted > restoreBurst+1 {
		t.Errorf("%d of %d looks restore, want %d", granted, 2*restoreBurst, restoreBurst)
	}
	if r.begin(); r.postponed() {
		t.Error("a look that found nothing changed is postponed")
	}
	start := time.Now()
	for range sayBurst {
		if held, due := r.say(7, start); held != 0 || !due {
			t.Errorf("one of the first: %d, %v", held, due)
		}
	}
	for i, want := range []struct {
		after time.Duration
		held  uint64
		due   bool
	}{{0, 0, false}, {time.Second, 0, false}, {sayEvery, 2, true}, {sayEvery + time.Second, 0, false}, {2 * sayEvery, 1, true}} {
		if held, due := r.say(7, start.Add(want.after)); held != want.held || due != want.due {
			t.Errorf("%d: %d, %v", i, held, due)
		}
	}
	if _, due := r.say(8, start); !due {
		t.Error("ports share the limit")
	}
}

func TestNextLook(t *testing.T) {
	s := &Server{retries: map[string]backoff.Backoff{"a": {At: 5 * time.Second}}}
	if got := s.nextRetry(time.Second); got != 5*time.Second {
		t.Errorf("next look at %v", got)
	}
	if got := s.nextRetry(-time.Minute); got != lookInterval-time.Minute {
		t.Errorf("next look at %v", got)
	}
	if s.due("a", 4*time.Second) || !s.due("a", 5*time.Second) || !s.due("b", 0) {
		t.Error("due")
	}
	s.hurried = true
	if !s.due("a", 0) {
		t.Error("a change of the datapath does not try at once")
	}
}
