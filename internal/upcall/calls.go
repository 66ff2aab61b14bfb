package upcall

import (
	"sync"
	"sync/atomic"

	"dpifd/internal/clock"
	"dpifd/internal/mmapring"
)

// calls are functions that others run on the handler's goroutine.
type calls struct {
	mu       sync.Mutex
	pending  []func() // to be run by the handler's goroutine
	stopping bool
	finished bool
	called   atomic.Bool // pending or stopping was set
}

// Attach makes the handler the owner of sockets. It returns those that it could not take, with
// the reason; the caller still owns these.
func (h *Handler) Attach(socks ...*Socket) (failed map[*Socket]error) {
	h.do(func() {
		for _, s := range socks {
			if err := h.attach(s); err != nil {
				if failed == nil {
					failed = map[*Socket]error{}
				}
				failed[s] = err
			}
		}
	})
	return failed
}

// Detach answers the upcalls queued on a socket, closes it, and returns the final counters of
// its port.
func (h *Handler) Detach(s *Socket) (last PortCounters) {
	h.do(func() { last = h.detach(s) })
	return last
}

// Release gives up sockets with their queues. It returns the descriptor of each, which the
// caller owns, and the state of its ring; -1 for a socket that cannot be handed over, which the
// handler keeps.
func (h *Handler) Release(socks ...*Socket) ([]int, []mmapring.State) {
	fds, rings := make([]int, len(socks)), make([]mmapring.State, len(socks))
	h.do(func() {
		for i, s := range socks {
			fds[i], rings[i] = h.release(s)
		}
	})
	return fds, rings
}

// Barrier waits until everything that the handler has decided is in the kernel.
func (h *Handler) Barrier() { h.do(func() {}) }

// do runs fn on the handler's goroutine between two passes, and waits for it. After the handler
// has ended, fn runs at once.
func (h *Handler) do(fn func()) {
	done := make(chan struct{})
	h.mu.Lock()
	if h.finished {
		h.mu.Unlock()
		fn()
		return
	}
	h.pending = append(h.pending, func() { fn(); close(done) })
	h.mu.Unlock()
	h.called.Store(true)
	// After a failed wake-up, fn runs at the next event. An eventfd write fails only when it is
	// closed, which is after finish.
	_ = h.poller.Wake()
	<-done
}

// Stop ends the handler when its sockets are empty.
func (h *Handler) Stop() {
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
	h.called.Store(true)
	_ = h.poller.Wake()
}

// runPending runs the functions of do, and reports whether the handler must stop.
func (h *Handler) runPending() bool {
	if !h.called.Swap(false) {
		return false
	}
	h.mu.Lock()
	fns, stopping := h.pending, h.stopping
	h.pending = nil
	h.mu.Unlock()
	for _, fn := range fns {
		fn()
	}
	h.clock = clock.Now()
	if stopping {
		// Prevent wait from sleeping: run passes until nothing is ready.
		h.called.Store(true)
		_ = h.poller.Wake()
	}
	return stopping
}

// Wake makes a sleeping handler run a round.
func (h *Handler) Wake() {
	h.called.Store(true)
	_ = h.poller.Wake()
}
