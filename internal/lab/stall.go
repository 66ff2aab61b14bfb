//go:build lab

package lab

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// stallTick is the period of the stall meter, and stallFloor the delay of a wake-up from which it
// counts as a stall: timers of an idle guest are a few milliseconds late.
const (
	stallTick  = 10 * time.Millisecond
	stallFloor = 10 * time.Millisecond
)

var (
	stalledFor atomic.Int64 // nanoseconds
	startMeter = sync.OnceFunc(func() { go measureStalls() })
)

// measureStalls sums how late it wakes up. They occur when the host stalls emulated CPUs
// and when parallel tests share them.
func measureStalls() {
	for last := time.Now(); ; {
		time.Sleep(stallTick)
		now := time.Now()
		if late := now.Sub(last) - stallTick; late > stallFloor {
			stalledFor.Add(int64(late))
		}
		last = now
	}
}

// Stopwatch measures time without the time in which this process had no CPU.
type Stopwatch struct {
	start   time.Time
	stalled time.Duration
}

// StartStopwatch starts a stopwatch.
func StartStopwatch() Stopwatch {
	startMeter()
	return Stopwatch{time.Now(), time.Duration(stalledFor.Load())}
}

// Elapsed returns the wall-clock time since the start minus the stalls.
func (s Stopwatch) Elapsed() time.Duration { return time.Since(s.start) - s.Stalled() }

// Stalled returns the stalls since the start.
func (s Stopwatch) Stalled() time.Duration { return time.Duration(stalledFor.Load()) - s.stalled }

// Limit limits a wait by the running time of the guest. The zero value has passed.
type Limit struct {
	watch Stopwatch
	after time.Duration
}

// Within returns a limit that passes after d.
func Within(d time.Duration) Limit { return Limit{StartStopwatch(), d} }

// Left returns the minimum time until the limit passes, 0 if it has passed.
func (l Limit) Left() time.Duration { return max(0, l.after-l.watch.Elapsed()) }

// Passed reports whether the limit has passed.
func (l Limit) Passed() bool { return l.Left() == 0 }

// timer is a timer for select: after each tick the caller calls passed.
type timer struct {
	*time.Timer
	limit Limit
}

func newTimer(d time.Duration) timer { return timer{time.NewTimer(d), Within(d)} }

// passed reports whether the limit has passed, and starts the timer again if not.
func (t timer) passed() bool {
	left := t.limit.Left()
	if left > 0 {
		t.Reset(left)
	}
	return left == 0
}

// withLimit returns a context that is done when the limit has passed, or by cancel.
func withLimit(d time.Duration) (ctx context.Context, cancel func()) {
	ctx, done := context.WithCancel(context.Background())
	go func() {
		t := newTimer(d)
		defer t.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-t.C:
				if t.passed() {
					done()
					return
				}
			}
		}
	}()
	return ctx, done
}
