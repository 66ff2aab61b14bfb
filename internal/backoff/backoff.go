// Package backoff says when something that failed is tried again: later each time, and
// not in step with others.
package backoff

import (
	"math/rand/v2"
	"time"
)

// The first and the longest time between two tries.
const (
	First = time.Second
	Last  = 20 * time.Second
)

// Backoff is the state of one thing that is tried. The zero value is due at once.
type Backoff struct {
	// At is when the next try is due, by internal/clock.
	At    time.Duration
	after time.Duration // since the try before, without jitter
}

// Next returns the state after a try that failed at the time now.
func (b Backoff) Next(now time.Duration) Backoff {
	b.after = min(max(2*b.after, First), Last)
	// A fifth at random, so that things that wait for the same do not go in step.
	b.At = now + b.after - time.Duration(rand.Int64N(int64(b.after/5)))
	return b
}

// Due reports whether the next try is due.
func (b Backoff) Due(now time.Duration) bool { return now >= b.At }
