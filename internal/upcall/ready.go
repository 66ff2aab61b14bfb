package upcall

import (
	"errors"
	"slices"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/epoll"

	"golang.org/x/sys/unix"
)

// wait fills h.ready with the vports that have upcalls. It checks the heads of rings in memory,
// and makes a system call only when all are empty or when sockets without ring are due.
//
// Sockets with a ring are in the epoll set edge-triggered. A message that arrives after the
// check of its ring's head is an event of the following sleep, and messages that a pass leaves
// in a ring are at its head in the next pass.
func (h *Handler) wait() error {
	h.ready = h.ready[:0]
	if h.pollSpeculatively(); h.guessed {
		return nil
	}
	for _, s := range h.rings {
		if s.Ready() {
			h.makeReady(s)
		} else {
			s.age.empty(h.clock)
		}
	}
	if h.fruitless > 0 {
		// Nothing could be received: the kernel still writes a frame, or an error persists.
		time.Sleep(min(minBackoff<<(h.fruitless-1), maxBackoff))
		h.clock = clock.Now()
	}
	timeout := time.Duration(-1)
	switch {
	case len(h.ready) > 0:
		if h.unpolled++; h.unpolled < h.maxUnpolled() && h.fruitless == 0 && !h.called.Load() {
			return nil
		}
		timeout = 0
	case len(h.rings) > 0:
		timeout = h.rescan
	}
	h.unpolled = 0
	h.endCongestion()
	h.polls.Add(1)
	n, err := h.sleep(timeout)
	if err != nil {
		return err
	}
	slept := h.looked(timeout, n)
	for _, ev := range h.events[:n] {
		if int(ev.ID) >= len(h.slots) || h.slots[ev.ID] == nil {
			continue
		}
		s := h.slots[ev.ID]
		if ev.Err && s.SocketError() != nil {
			s.congested = true
		}
		h.reported(s, slept)
		h.makeReady(s)
	}
	if len(h.ready) == 0 && !h.called.Load() {
		// The sleep timed out: rings are checked and polled before the next one.
		for _, s := range h.rings {
			s.congested = true
		}
	}
	return nil
}

// sleep calls epoll. After a pass with upcalls the sleep is brief at first, because under load
// the next upcalls come soon.
func (h *Handler) sleep(timeout time.Duration) (int, error) {
	if (timeout < 0 || timeout > epoll.Brief) && h.worked {
		h.worked = false
		h.clock = clock.Now()
		if n, err := h.poller.Wait(h.events[:], epoll.Brief); n > 0 || err != nil || h.called.Load() {
			return n, err
		}
		h.polls.Add(1)
		h.looked(epoll.Brief, 0)
	} else if timeout != 0 {
		h.clock = clock.Now()
	}
	return h.poller.Wait(h.events[:], timeout)
}

// pollSpeculatively marks recently busy sockets ready without calling epoll, if epoll was
// called for the previous pass: often more upcalls have arrived while the last ones were
// answered. After failed attempts it speculates rarely. It does not speculate while a vport is
// behind, because the other vports would wait. Rings do not need it, because their heads are
// checked.
func (h *Handler) pollSpeculatively() {
	h.guessed = len(h.busy) > 0 && len(h.rings) == 0 && !h.guessed && !h.called.Load()
	if !h.guessed {
		return
	}
	if h.owned > 1 && slices.ContainsFunc(h.busy, func(s *Socket) bool { return s.behind }) {
		h.guessed = false
		return
	}
	h.misses++ // until the pass finds upcalls
	if h.misses > maxMisses && h.misses%speculateEvery != 0 {
		h.guessed = false
		return
	}
	for _, s := range h.busy {
		h.makeReady(s)
	}
}

// maxUnpolled is the number of passes over rings without calling epoll.
func (h *Handler) maxUnpolled() int {
	if len(h.rings) < h.owned {
		return mixedPasses
	}
	return ringPasses
}

// endCongestion polls rings that overran and are now empty: only then the kernel uses COPY
// frames again.
func (h *Handler) endCongestion() {
	for _, s := range h.rings {
		if s.congested && !s.Ready() {
			s.congested = false
			_ = s.Poll() // fails on closed sockets only
		}
	}
}

// makeReady adds s to h.ready once.
func (h *Handler) makeReady(s *Socket) {
	if !s.ready {
		s.ready = true
		h.ready = append(h.ready, s)
	}
}

// pass takes at most its quota from each ready vport, so that a flooding vport delays the
// others by one pass at most. Vports that are behind come last, so that the others do not wait
// for their answers.
func (h *Handler) pass() {
	quota := batchSize
	if h.owned > 1 {
		quota = sharedPass
	}
	if len(h.ready) > 1 {
		quota = max(minQuota, quota/len(h.ready))
	}
	h.busy = h.busy[:0]
	if left := h.takeFrom(quota, false); left > 0 {
		h.answer()
		h.takeFrom(quota, true)
	}
	h.answer()
	h.worked = h.worked || len(h.busy) > 0
	if h.guessed && len(h.busy) > 0 {
		h.misses = 0
	}
	switch {
	case len(h.busy) > 0 || len(h.ready) == 0 || h.guessed:
		h.fruitless = 0
	default:
		h.fruitless = min(h.fruitless+1, maxFruitless)
	}
}

// takeFrom receives from the ready vports, including those that are behind if all is true. It
// returns the number of vports left out.
func (h *Handler) takeFrom(quota int, all bool) (left int) {
	for _, s := range h.ready {
		switch {
		case !s.ready:
			continue
		case s.behind && !all:
			left++
			continue
		}
		if h.in.Free() == 0 {
			h.answer()
		}
		take := quota
		if s.port.limit.shedding {
			take = batchSize // shed upcalls cost less in larger batches
		}
		n := h.receive(s, take)
		s.behind, s.ready = n == take, false
		if n > 0 {
			h.busy = append(h.busy, s)
			h.shedRing(s)
		}
	}
	return left
}

// shedRing continues with a ring whose port is above its limit: shedding a frame needs no
// system call, and a frame that stays in use is not available for the next upcall.
func (h *Handler) shedRing(s *Socket) {
	for range shedBatches {
		if !s.port.limit.shedding || !s.Ready() {
			return
		}
		h.answer()
		h.receive(s, batchSize)
	}
}

// receive adds up to quota upcalls of s to the batch.
func (h *Handler) receive(s *Socket, quota int) int {
	from, room := h.in.Len(), min(quota, h.in.Free())
	if fill := s.Fill(); fill > h.fill.Load() {
		h.fill.Store(fill)
	}
	n, err := s.Receive(h.in, quota)
	if errors.Is(err, unix.ENOBUFS) {
		// The socket counted the overflow; the next call receives queued messages.
		n, err = s.Receive(h.in, quota)
	}
	if err != nil {
		s.port.receiveErrors.Add(1)
	}
	oldest := h.received(s, n, from == 0, err == nil && n < room)
	for i := from; i < from+n; i++ {
		h.owner[i], h.oldest[i] = s, oldest
	}
	return n
}
