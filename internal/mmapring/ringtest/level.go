package ringtest

import "golang.org/x/sys/unix"

// Level is what a level-triggered event loop has to report of the socket now:
// what Poll returns, but without the effects that a poll has on the kernel. An
// edge-triggered one reports it when it is added, and when Wakeups has grown.
func (s *Socket) Level() int16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	var mask int16
	if s.soErr != 0 {
		mask |= unix.POLLERR
	}
	if len(s.queue) > 0 || s.rx != nil && s.frameToRead() {
		mask |= unix.POLLIN
	}
	return mask
}

// Wakeups counts how often the socket was woken: for each message that came, and for each
// error that was raised (sk_data_ready, sk_error_report).
func (s *Socket) Wakeups() uint64 { return s.wakeups.Load() }

// Wake wakes the socket though nothing has come.
func (s *Socket) Wake() { s.signal() }

// Rest resets the descriptor, which is then not ready before the socket is
// woken again. An event loop calls it before it looks at Level.
func (s *Socket) Rest() {
	var count [8]byte
	// EAGAIN: it is at rest.
	_, _ = unix.Read(s.wake, count[:])
}
