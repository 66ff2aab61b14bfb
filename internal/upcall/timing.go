package upcall

import (
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
)

// timing determines upper bounds of upcall latencies. The kernel does not report when it queued a
// message, but no message is older than the last time at which its queue was known to be empty. The
// clock is read when a batch begins, when its answers are sent, and before and after a sleep; not for
// each upcall.
type timing struct {
	clock time.Duration // last reading; CLOCK_MONOTONIC, like all of these
	began time.Duration // when the first messages of the batch were received
	// Sockets that epoll did not report were empty: the time of the last call and of the one
	// before.
	look, lastLook time.Duration
	looks          uint32                   // calls of epoll
	oldest         [batchSize]time.Duration // a message of the batch arrived after this, or notAnswered
	times          metric.Histogram         // latencies of all upcalls
}

const (
	// notAnswered marks a message whose latency is not counted.
	notAnswered = -1
	// asleep is the minimum duration of an epoll call that is assumed to have slept. A call without
	// sleep takes a few microseconds.
	asleep = 50 * time.Microsecond
	// minMessage is the minimum memory that the kernel charges for a message in a queue: a struct
	// sk_buff with its data and struct skb_shared_info (SKB_TRUESIZE of include/linux/skbuff.h,
	// Linux 6.1: 768 with 64 bits).
	minMessage = 512
)

// queueAge is an upper bound of the age of messages in a socket's queue.
type queueAge struct {
	since time.Duration // all queued messages arrived after this
	// A queue that never becomes empty has no messages from before mark once as many messages were
	// received since mark as fit in the queue.
	mark     time.Duration
	received int    // messages since mark
	reported uint32 // the handler's looks when epoll last reported the socket
}

// empty records that the queue was empty at some time after at.
func (q *queueAge) empty(at time.Duration) {
	if at > q.since {
		q.since, q.mark, q.received = at, at, 0
	}
}

// next returns since for n messages that were received after the time now, and updates the age for
// the following ones. capacity is the maximum number of messages in the queue.
func (q *queueAge) next(n int, emptied bool, now time.Duration, capacity int) time.Duration {
	since := q.since
	if q.received += n; q.received >= capacity {
		q.since, q.mark, q.received = q.mark, now, 0
	}
	if emptied {
		q.empty(now)
	}
	return since
}

// capacity returns the maximum number of messages in the socket's queue.
func (s *Socket) capacity() int {
	if s.Transport() == netlink.Ring {
		return int(s.Geometry().Frames())
	}
	return s.RcvBuf()/minMessage + 1
}

// looked records the time after epoll reported n sockets, and returns whether the handler slept. If
// so, all queues were empty and a message woke the handler; how long the wake-up took is unknown.
func (h *Handler) looked(timeout time.Duration, n int) (slept bool) {
	h.looks++
	h.lastLook, h.look = h.look, h.clock
	if timeout != 0 {
		h.clock = clock.Now()
		if slept = h.clock-h.look >= asleep; slept {
			h.look = h.clock
		}
	}
	if n >= len(h.events)-1 {
		h.look = 0 // there may be more ready sockets that were not reported
	}
	return slept
}

// reported updates the age of the queue of a socket that epoll reports.
func (h *Handler) reported(s *Socket, slept bool) {
	switch {
	case slept:
		s.age.empty(h.clock)
	case s.age.reported+1 != h.looks:
		s.age.empty(h.lastLook)
	}
	s.age.reported = h.looks
}

// received records the time after n messages of s were received, which are the first ones of a
// batch if first. emptied says that a socket without a ring has no more messages. It returns a time
// after which the messages arrived.
func (h *Handler) received(s *Socket, n int, first, emptied bool) time.Duration {
	before := h.clock
	if first && n > 0 {
		h.clock = clock.Now()
		h.began = h.clock
	}
	if s.Transport() == netlink.Ring {
		emptied = !s.Ready() // a batch holds at most half a ring, and skips some frames
	}
	return s.age.next(n, emptied, before, s.capacity())
}

// sent counts the latencies of the batch's n messages after their answers were sent.
func (h *Handler) sent(n int) {
	h.clock = clock.Now()
	took := int64(h.clock - h.began)
	h.batchTime.Add(took)
	if took > h.longest.Load() {
		h.longest.Store(took)
	}
	for i := 0; i < n; {
		oldest, first := h.oldest[i], i
		for i < n && h.oldest[i] == oldest {
			i++
		}
		if oldest != notAnswered {
			h.times.Observe(h.clock-oldest, i-first)
		}
	}
}
