package vswitch

import "time"

// lookInterval is the time between two looks of the port poll that nobody asked for.
const lookInterval = 10 * time.Second

// nextRetry is when the port poll looks again though nothing has changed: in time for the
// next configured port that waits.
func (s *Server) nextRetry(now time.Duration) time.Duration {
	at := now + lookInterval
	for _, r := range s.retries {
		at = min(at, r.At)
	}
	return at
}

// due reports whether a configured port that is not attached is to be tried now. What
// concerns the datapath or the port's device has it tried earlier than its back-off says.
func (s *Server) due(name string, now time.Duration) bool {
	return s.hurried || s.retries[name].Due(now)
}
