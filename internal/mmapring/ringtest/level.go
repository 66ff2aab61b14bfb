package ringtest

import "golang.org/x/sys/unix"

// Level is what a level-triggered event loop reports for the socket now: the result of Poll, but
// without a poll's effects on the kernel. An edge-triggered loop reports it when the socket is
// added, and when Wakeups has increased.
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

// Wakeups returns how many times the socket was woken: for each message, and for each error raised
// (sk_data_ready, sk_error_report).
func (s *Socket) Wakeups() uint64 { return s.wakeups.Load() }

// Wake wakes the socket although nothing has arrived.
func (s *Socket) Wake() { s.signal() }

// Rest resets the descriptor, which is then not ready until the socket is woken again. An event
// loop calls it before Level.
func (s *Socket) Rest() {
	var count [8]byte
	// EAGAIN: it was reset already.
	_, _ = unix.Read(s.wake, count[:])
}
