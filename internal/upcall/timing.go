package upcall

import (
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
)

// timing bounds how long upcalls take. The kernel does not tell when it queued a message,
// but no message is older than the last time that its queue was seen empty. The clock is read
// when a batch begins, when its answers are sent, and after a sleep; not for each upcall.
type timing struct {
	clock time.Duration // as last read; CLOCK_MONOTONIC, as all of these
	began time.Duration // when the first messages of the batch had been received
	// Sockets that epoll did not report were empty: when it was asked last, and the time before.
	look, lastLook time.Duration
	looks          uint32                   // times that epoll was asked
	oldest         [batchSize]time.Duration // a message of the batch came after this, or notAnswered
	times          metric.Histogram         // of all upcalls
}

const (
	// notAnswered marks a message whose time is not counted.
	notAnswered = -1
	// asleep is how long epoll takes at least if it is assumed to have slept. To ask it takes a
	// few microseconds.
	asleep = 50 * time.Microsecond
	// minMessage is the least memory that the kernel counts for a message in a queue: a
	// struct sk_buff with its data and struct skb_shared_info (SKB_TRUESIZE of
	// include/linux/skbuff.h, Linux 6.1: 768 with 64 bits).
	minMessage = 512
)

// queueAge bounds the age of what is in a socket's queue.
type queueAge struct {
	since time.Duration // all that is in the queue came after this
	// A queue that never runs empty holds, once as much was received from it as there is
	// room in it, nothing from before that began.
	mark     time.Duration
	received int    // messages since mark
	reported uint32 // the handler's looks when epoll last reported the socket
}

// empty says that the queue was empty at some time after at.
func (q *queueAge) empty(at time.Duration) {
	if at > q.since {
		q.since, q.mark, q.received = at, at, 0
	}
}

// next returns since for n messages that were received after the time now, and brings the
// age up to date for those that follow. capacity is how many the queue has room for.
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

// capacity returns how many messages the socket's queue has room for at most.
func (s *Socket) capacity() int {
	if s.Transport() == netlink.Ring {
		return int(s.Geometry().Frames())
	}
	return s.RcvBuf()/minMessage + 1
}

// looked takes the time after epoll reported n sockets, and returns whether the handler slept.
// Then all queues were empty, and what is in them now has woken it: how long that took cannot
// be told.
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
		h.look = 0 // there may be more, which were not reported
	}
	return slept
}

// reported bounds the age of what is in a socket that epoll reports.
func (h *Handler) reported(s *Socket, slept bool) {
	switch {
	case slept:
		s.age.empty(h.clock)
	case s.age.reported+1 != h.looks:
		s.age.empty(h.lastLook)
	}
	s.age.reported = h.looks
}

// received takes the time after n messages of s were received, the first ones of a
// batch or not. emptied tells of sockets without ring that nothing is left. It returns the
// time that the messages came after.
func (h *Handler) received(s *Socket, n int, first, emptied bool) time.Duration {
	before := h.clock
	if first && n > 0 {
		h.clock = clock.Now()
		h.began = h.clock
	}
	if s.Transport() == netlink.Ring {
		emptied = !s.Ready() // a batch holds half a ring at most, and passes over some frames
	}
	return s.age.next(n, emptied, before, s.capacity())
}

// sent counts the times of the n messages of the batch after their answers were sent.
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
