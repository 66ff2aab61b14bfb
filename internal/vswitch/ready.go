package vswitch

import (
	"errors"
	"time"

	"dpifd/internal/epoll"

	"golang.org/x/sys/unix"
)

// wait fills h.ready with the vports that have upcalls. Heads of rings are
// looked at in memory; only when all are empty, or when it is time to see to
// sockets without ring, does it make a system call.
//
// Sockets with a ring are in the epoll set edge-triggered. A message that comes
// after the look at its ring's head is an event of the sleep that follows, and
// what a pass leaves in a ring shows at its head in the next one.
func (h *Handler) wait() error {
	h.ready = h.ready[:0]
	if h.guess(); h.guessed {
		return nil
	}
	for _, ch := range h.rings {
		if ch.sock.Ready() {
			h.makeReady(ch)
		}
	}
	if h.fruitless > 0 {
		// What there is could not be received: a frame is still in the
		// kernel's hands, or an error persists.
		time.Sleep(min(minBackoff<<(h.fruitless-1), maxBackoff))
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
	for _, ev := range h.events[:n] {
		if int(ev.ID) >= len(h.slots) || h.slots[ev.ID] == nil {
			continue
		}
		ch := h.slots[ev.ID]
		if ev.Err && ch.sock.SocketError() != nil {
			ch.congested = true
		}
		h.makeReady(ch)
	}
	if len(h.ready) == 0 && !h.called.Load() {
		// The bound of the sleep was reached: rings are looked at and polled
		// before the next one.
		for _, ch := range h.rings {
			ch.congested = true
		}
	}
	return nil
}

// sleep asks epoll. After a pass that brought something it is brief at first:
// under load the next upcalls are not far.
func (h *Handler) sleep(timeout time.Duration) (int, error) {
	if (timeout < 0 || timeout > epoll.Brief) && h.worked {
		h.worked = false
		if n, err := h.poller.Wait(h.events[:], epoll.Brief); n > 0 || err != nil || h.called.Load() {
			return n, err
		}
		h.polls.Add(1)
	}
	return h.poller.Wait(h.events[:], timeout)
}

// guess makes those ports ready without asking epoll that had upcalls in the
// pass before, if epoll was asked for that one: often more have come while these
// were answered. After guesses that were wrong it is seldom tried. Rings show by
// themselves what they hold.
func (h *Handler) guess() {
	h.guessed = len(h.busy) > 0 && len(h.rings) == 0 && !h.guessed && !h.called.Load()
	if !h.guessed {
		return
	}
	h.unlucky++ // until the pass has shown better
	if h.unlucky > unluckyGuesses && h.unlucky%guessInterval != 0 {
		h.guessed = false
		return
	}
	for _, ch := range h.busy {
		h.makeReady(ch)
	}
}

// maxUnpolled is how many passes over rings there may be without asking epoll.
func (h *Handler) maxUnpolled() int {
	if len(h.rings) < h.owned {
		return mixedPasses
	}
	return ringPasses
}

// endCongestion polls the rings that overran and have been emptied since: only
// then does the kernel take up COPY frames again.
func (h *Handler) endCongestion() {
	for _, ch := range h.rings {
		if ch.congested && !ch.sock.Ready() {
			ch.congested = false
			_ = ch.sock.Poll() // fails on closed sockets only
		}
	}
}

// makeReady adds ch to h.ready once.
func (h *Handler) makeReady(ch *channel) {
	if !ch.ready {
		ch.ready = true
		h.ready = append(h.ready, ch)
	}
}

// pass takes from each ready vport at most its quota, so that one that floods
// costs the others no more than a pass.
func (h *Handler) pass() {
	quota := batchSize
	if h.owned > 1 {
		quota = sharedPass
	}
	if len(h.ready) > 1 {
		quota = max(minQuota, quota/len(h.ready))
	}
	h.busy = h.busy[:0]
	for _, ch := range h.ready {
		if h.in.Free() == 0 {
			h.answer()
		}
		take := quota
		if ch.limit.shedding {
			take = batchSize // what is not decided on costs less the more of it comes at once
		}
		if h.receive(ch, take) > 0 {
			h.busy = append(h.busy, ch)
			h.shedRing(ch)
		}
		ch.ready = false
	}
	h.answer()
	h.worked = h.worked || len(h.busy) > 0
	if h.guessed && len(h.busy) > 0 {
		h.unlucky = 0
	}
	switch {
	case len(h.busy) > 0 || len(h.ready) == 0 || h.guessed:
		h.fruitless = 0
	default:
		h.fruitless = min(h.fruitless+1, maxFruitless)
	}
}

// shedRing goes on with a ring whose port is over its limit: a frame that is shed costs no
// system call, and one that stays in use costs the next upcall its frame.
func (h *Handler) shedRing(ch *channel) {
	for range shedBatches {
		if !ch.limit.shedding || !ch.sock.Ready() {
			return
		}
		h.answer()
		h.receive(ch, batchSize)
	}
}

// receive adds up to quota upcalls of ch to the batch.
func (h *Handler) receive(ch *channel, quota int) int {
	from := h.in.Len()
	n, err := ch.sock.Receive(h.in, quota)
	if errors.Is(err, unix.ENOBUFS) {
		// The socket counted the overflow; what is queued comes with the
		// next call.
		n, err = ch.sock.Receive(h.in, quota)
	}
	if err != nil {
		ch.receiveErrors.Add(1)
	}
	for i := range n {
		h.owner[from+i] = ch
	}
	return n
}
