//go:build lab

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// event creates an event with pairs of field and number.
func event(name string, at time.Time, pairs ...any) lab.Event {
	e := lab.Event{Name: name, Level: "INFO", Time: at, Fields: map[string]any{}}
	for i := 0; i < len(pairs); i += 2 {
		e.Fields[pairs[i].(string)] = json.Number(fmt.Sprint(pairs[i+1]))
	}
	return e
}

// TestLosses: each loss in the log is counted once, across processes and datapaths.
func TestLosses(t *testing.T) {
	b := newBook(io.Discard)
	b.setLimit(100)
	now := time.Now()
	opened := event("datapath_opened", now, "lost", 0)
	opened.Fields["created"] = true
	again := event("datapath_opened", now, "lost", 12)
	again.Fields["created"] = false
	for i, step := range []struct {
		e    lab.Event
		want int64
	}{
		{event("starting", now), 0},
		{opened, 0},
		{event("stats", now, "lost_delta", 3, "execute_refused", 2), 5},
		{event("stats", now, "lost_delta", 2, "execute_refused", 2), 7}, // 5 by the kernel
		// Killed; 7 were lost while it was down, and 1 while it started.
		{event("starting", now), 7},
		{again, 14},
		{event("lost_while_down", now, "lost", 8), 15},
		{event("stats", now, "lost_delta", 0, "execute_refused", 1), 16},
		{event("stats", now, "lost_delta", 1, "execute_refused", 1, "shed", 4), 21},
		// Deleted and recreated.
		{opened, 21},
		{event("stats", now, "lost_delta", 2, "execute_refused", 1, "shed", 4), 23},
	} {
		b.account(step.e)
		if got := b.explained(); got != step.want {
			t.Errorf("after step %d, %s: %d packets explained, want %d", i, step.e.Name, got, step.want)
		}
	}
	if v := b.failure(); v != nil {
		t.Error(v)
	}
}

// TestFlowsWithinLimit: a lower limit must take effect within the time allowed.
func TestFlowsWithinLimit(t *testing.T) {
	now := time.Now()
	limits := []limitSince{{now.Add(-time.Hour), 5000}, {now.Add(-time.Minute), 1000}}
	for _, tt := range []struct {
		at       time.Time
		flows    int64
		violated bool
	}{
		{now.Add(-time.Minute), 5000, false},
		{now.Add(-time.Minute + settleLimit - time.Second), 4000, false},
		{now.Add(-time.Minute + settleLimit + time.Second), 1001, true},
		{now, 1000, false},
		{now, 1001, true},
	} {
		b := newBook(io.Discard)
		b.limits = limits
		b.account(event("stats", tt.at, "flows", tt.flows))
		if v := b.failure(); (v != nil) != tt.violated {
			t.Errorf("%d flows %v before now: %v, want violated %v", tt.flows, now.Sub(tt.at), v, tt.violated)
		}
	}
}

// TestFailuresAreFound: events that must not occur end the run.
func TestFailuresAreFound(t *testing.T) {
	for _, name := range []string{"failed", "port_failed", "revalidator_failed", "restart_failed"} {
		b := newBook(io.Discard)
		b.account(event(name, time.Now()))
		if b.failure() == nil {
			t.Errorf("event %s is not a violation", name)
		}
	}
	b := newBook(io.Discard)
	if _, err := b.Write([]byte("panic: runtime error\n")); err != nil || b.failure() == nil {
		t.Errorf("a line that is not an event is not a violation, error %v", err)
	}
}

// TestMemory: growth is detected over the whole run and within a single process.
func TestMemory(t *testing.T) {
	grow := func(process int64, count, from, each int) []sample {
		var list []sample
		for i := range count {
			list = append(list, sample{process, from + i*each})
		}
		return list
	}
	join := func(lists ...[]sample) (all []sample) {
		for _, l := range lists {
			all = append(all, l...)
		}
		return all
	}
	for _, tt := range []struct {
		name    string
		samples []sample
		bad     bool
	}{
		{"flat", grow(1, 300, 30000, 0), false},
		{"warms up", join(grow(1, warmUp, 10000, 1000), grow(1, 200, 30000, 0)), false},
		{"short processes", join(grow(1, 70, 20000, 200), grow(2, 70, 20000, 200)), false},
		{"leaks", grow(1, 300, 30000, 200), true},
		{"one of several leaks", join(grow(1, 200, 30000, 0), grow(2, 100, 20000, 400), grow(3, 500, 30000, 0)), true},
	} {
		m := &memory{samples: tt.samples}
		if err := m.judge(); (err != nil) != tt.bad {
			t.Errorf("%s: %v, want an error %v", tt.name, err, tt.bad)
		}
	}
}
