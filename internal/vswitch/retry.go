package vswitch

import (
	"math/rand/v2"
	"time"
)

// Times between two looks of the port poll that nobody asked for, and between two tries
// to attach a configured port that waits. The latter grow from the first to the last.
const (
	lookInterval = 10 * time.Second
	firstRetry   = time.Second
	lastRetry    = 20 * time.Second
)

// retry says when a configured port that waits is tried again, by internal/clock. What
// concerns the datapath or the port's device has it tried earlier.
type retry struct {
	at    time.Duration
	after time.Duration // since the try before, without jitter
}

// next is the retry after one that failed at the time now.
func (r retry) next(now time.Duration) retry {
	r.after = min(max(2*r.after, firstRetry), lastRetry)
	// A fifth at random, so that ports that wait for the same thing do not go in step.
	r.at = now + r.after - time.Duration(rand.Int64N(int64(r.after/5)))
	return r
}

// nextRetry is when the port poll looks again though nothing has changed.
func (s *Server) nextRetry(now time.Duration) time.Duration {
	at := now + lookInterval
	for _, r := range s.retries {
		at = min(at, r.at)
	}
	return at
}

// due reports whether a configured port that is not attached is to be tried now.
func (s *Server) due(name string, now time.Duration) bool {
	r, waits := s.retries[name]
	return !waits || s.hurried || now >= r.at
}
