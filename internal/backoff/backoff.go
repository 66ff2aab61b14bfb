// Package backoff computes when to retry something that failed: at growing intervals, with
// jitter.
package backoff

import (
	"math/rand/v2"
	"time"
)

// The first and the longest interval of two tries.
const (
	First = time.Second
	Last  = 20 * time.Second
)

// Backoff is the retry state of one operation. The zero value is due at once.
type Backoff struct {
	// At is the time of the next try, by internal/clock.
	At    time.Duration
	after time.Duration // interval since the previous try, without jitter
}

// Next returns the state after a try that failed at the time now.
func (b Backoff) Next(now time.Duration) Backoff {
	b.after = min(max(2*b.after, First), Last)
	// A random fifth, so that operations that wait for the same event are not synchronised.
	b.At = now + b.after - time.Duration(rand.Int64N(int64(b.after/5)))
	return b
}

// Due reports whether the next try is due.
func (b Backoff) Due(now time.Duration) bool { return now >= b.At }
