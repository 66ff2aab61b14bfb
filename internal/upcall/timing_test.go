package upcall

import (
	"testing"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/metric"
	"dpifd/internal/mmapring/ringtest"
)

// TestQueueAge checks the known age of a queue of ten messages.
func TestQueueAge(t *testing.T) {
	q := queueAge{since: 10, mark: 10}
	for i, step := range []struct {
		n       int
		emptied bool
		now     time.Duration
		want    time.Duration
	}{
		{5, false, 20, 10}, {3, true, 30, 10}, // all came after the start
		{2, true, 40, 30}, {0, true, 50, 40}, {3, false, 60, 50}, // after the queue was last empty
		{6, false, 70, 50}, {6, false, 80, 50}, // ten or more since it was empty
		{6, false, 90, 50}, {6, false, 100, 50}, // ten or more since then
		{6, false, 110, 80}, {1, true, 120, 80}, {1, true, 130, 120},
	} {
		if got := q.next(step.n, step.emptied, step.now, 10); got != step.want {
			t.Errorf("step %d: since %d, want %d", i, got, step.want)
		}
	}
	if q.empty(125); q.since != 130 {
		t.Errorf("since %d after an older check", q.since)
	}
}

// TestReported lets epoll report sockets one after the other.
func TestReported(t *testing.T) {
	h, a, b, c := &Handler{}, &Socket{}, &Socket{}, &Socket{}
	for i, step := range []struct {
		at       time.Duration
		n        int
		reported *Socket
		want     time.Duration // since when its messages have been queued
	}{
		{10, 1, a, 0}, {20, 1, b, 10}, {30, 1, a, 20}, {40, 1, a, 20}, // not reported before, or reported
		{50, len(h.events), b, 40}, {60, 1, c, 0}, {70, 1, b, 60}, // after a report without room for all
	} {
		h.clock = step.at
		if h.looked(0, step.n) {
			t.Fatal("the handler slept without a timeout")
		}
		if h.reported(step.reported, false); step.reported.age.since != step.want {
			t.Errorf("step %d: since %d, want %d", i, step.reported.age.since, step.want)
		}
	}
	if slept := h.looked(-1, 1); !slept || h.clock == 70 {
		t.Fatalf("slept %t from 70 ns after boot until %d", slept, h.clock)
	}
	if h.reported(a, true); a.age.since != h.clock {
		t.Errorf("since %d, after a sleep until %d", a.age.since, h.clock)
	}
}

// TestUpcallTimes compares latencies with the times at which the test sends upcalls and sees the
// answers: no reported latency is shorter.
func TestUpcallTimes(t *testing.T) {
	const takes = 3 * time.Millisecond
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, one := b.port(1, ring16)
	_, two := b.port(2, ring16)
	var sent time.Duration
	b.h.policy = &slow{takes: takes, then: func() {
		if sent == 0 {
			sent = clock.Now()
			b.deliver(two, 2, 1, 1, 100) // while the upcall of another port is decided
		}
	}}
	began := clock.Now()
	b.deliver(one, 1, 1, 2, 100)
	b.step()
	answered := clock.Now()
	b.step()
	var d metric.Distribution
	b.h.AddUpcallTimes(&d)
	if d.Count() != 3 || d.Quantile(1) < takes || d.Quantile(1e6) < answered-sent+takes {
		t.Errorf("%d upcalls took %v to %v; want 3, of %v and %v at least",
			d.Count(), d.Quantile(1), d.Quantile(1e6), takes, answered-sent+takes)
	}
	if all := clock.Now() - began; d.Quantile(1e6) > all+all/16+time.Microsecond {
		t.Errorf("an upcall took %v of %v", d.Quantile(1e6), all)
	}
}

// TestTimesOfAnswersOnly: shed upcalls and invalid messages have no latency.
func TestTimesOfAnswersOnly(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	s, k := b.port(1, ring16)
	s.port.SetMaxUpcalls(1)
	b.deliver(k, 1, 1, 5, 100)
	b.step()
	var d metric.Distribution
	b.h.AddUpcallTimes(&d)
	if c := s.port.Counters(); c.Shed == 0 || d.Count() != c.Upcalls {
		t.Errorf("%d times for %d upcalls, %d shed", d.Count(), c.Upcalls, c.Shed)
	}
}

// TestCPUWait: a running handler reports the time that its thread waited for a CPU, and the value
// stays after it has ended.
func TestCPUWait(t *testing.T) {
	if d := runDelay("1234 56789 7\n"); d != 56789 {
		t.Errorf("%d ns of a schedstat file, want 56789", d)
	}
	if d := runDelay(""); d != 0 {
		t.Errorf("%d ns of an empty file", d)
	}
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ended := b.start()
	b.h.Barrier() // it runs
	before := b.h.CPUWait()
	if b.h.thread.Load() == 0 {
		t.Error("the thread is not known")
	}
	b.h.Stop()
	ended()
	if after := b.h.CPUWait(); after < before || b.h.thread.Load() != 0 {
		t.Errorf("%v after %v", after, before)
	}
}
