package mmapring

import "sync/atomic"

// Outcome is what Reader.Read found at the head of the ring.
type Outcome uint8

// Outcomes of Reader.Read.
const (
	// Empty: no message. Sleep with a timeout and read again.
	Empty Outcome = iota
	// Waiting: the kernel is still writing the frame at the head. Later frames may
	// be complete, but come after it. The kernel wakes the socket when it is done.
	Waiting
	// Limit: half of the ring is lent. Release first.
	Limit
	// Message: the payload is lent until it is released.
	Message
	// Queued: the message is in the socket's queue. Receive it, then call Copied.
	Queued
	// Closed: the mapping was closed.
	Closed
)

// ReaderCounters count the messages of an RX ring since it was mapped.
type ReaderCounters struct {
	Valid         uint64 // messages lent in place
	Copied        uint64 // messages received from the queue for a COPY frame
	Aborted       uint64 // VALID frames of length 0: messages that the kernel aborted
	Oversized     uint64 // VALID frames whose length exceeds the room
	UnknownStatus uint64 // frames with SKIP or a status that does not exist
	Foreign       uint64 // frames that another process sent
	Answered      uint64 // frames that the previous reader had marked: released unread
	Waits         uint64 // reads that stopped at a RESERVED frame
	Overruns      uint64 // number of times that the kernel returned ENOBUFS, see CountOverrun
}

// Reader reads the RX ring, in order. It belongs to one goroutine.
type Reader struct {
	m    *Mapping
	ring ring

	head uint32 // next frame to look at
	tail uint32 // oldest frame not given back
	held uint32 // frames from tail to head
	lent uint32 // those of them that the caller holds; the rest is passed over
	half uint32 // most frames that may be held

	// passed marks held frames that carry nothing: they cannot go back before the
	// lent ones in front of them.
	passed []bool
	// queued says that the frame at head is a COPY frame given to the caller.
	queued bool

	headSearch

	valid, copied, aborted, oversized, unknown, foreign, answered, waits, overruns atomic.Uint64
}

// headSearch is what a reader knows of the head of a ring that another reader read before.
type headSearch struct {
	searching bool   // the head is unknown, since the ring was empty or full, see search
	lap       uint32 // frames of a full ring that are still to be read
	lapped    bool   // all were read, and no search has been made since
	told      bool   // the head is the one that the previous reader told
}

func newReader(m *Mapping, r ring) *Reader {
	return &Reader{m: m, ring: r, half: max(1, r.frames/2), passed: make([]bool, r.frames)}
}

// Ready says whether Read has something to do at the head. It costs one atomic
// load of shared memory and no system call. It is false while the kernel is
// still writing the frame at the head, and after Close.
func (r *Reader) Ready() bool {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.closed {
		return false
	}
	if r.searching && r.lapped {
		return true // the position of the next message is unknown: Read finds it
	}
	s := r.ring.status(r.head)
	return s != Unused && s != Reserved
}

// Read takes the next message. With Message, payload aliases shared memory: it must not be
// written, may change while it is read if the memory is corrupt, and is valid until the Release
// that counts it. With all other outcomes payload is nil.
//
// With Queued, the caller makes receive calls on the socket until one succeeds (EINTR and
// ENOBUFS are tried again at once; a truncated one has succeeded), then calls Copied. Until
// then Read returns Queued again. EAGAIN means that ring and queue are out of step: the socket
// must be replaced.
func (r *Reader) Read() (payload []byte, o Outcome) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.closed {
		return nil, Closed
	}
	r.queued = false
	// The limit prevents a kernel that only aborts messages from keeping the reader here.
	for range r.ring.frames {
		if r.held >= r.half {
			return nil, Limit
		}
		if r.searching && r.lap == 0 {
			if r.held > 0 {
				return nil, Limit // a lent frame would be read
			}
			r.lapped = false
			if r.search() == nothing {
				return nil, Empty
			}
		}
		switch r.ring.status(r.head) {
		case Unused:
			return nil, Empty
		case Reserved:
			r.waits.Add(1)
			return nil, Waiting
		case Copy:
			if !r.ring.marked(r.head) {
				r.queued = true
				return nil, Queued
			}
			r.answered.Add(1)
		case Valid:
			n := r.ring.length(r.head)
			switch {
			case n == 0:
				r.aborted.Add(1)
			case n > r.ring.room:
				r.oversized.Add(1)
			case r.ring.pid(r.head) != 0:
				r.foreign.Add(1)
			case r.ring.marked(r.head):
				r.answered.Add(1)
			default:
				r.valid.Add(1)
				payload = r.ring.payload(r.head, n)
				r.hold(true)
				return payload, Message
			}
		default:
			r.unknown.Add(1)
		}
		r.hold(false)
	}
	return nil, Empty
}

// Copied reports to the reader that the message of a Queued frame was received. The frame is
// then lent like any other, to keep the order, and Release counts it. Copied returns false if
// the frame is not the kernel's: the caller must drop the data, and Release does not count it.
// It also returns false if Read did not return Queued last.
func (r *Reader) Copied() bool {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	if r.m.closed || !r.queued {
		return false
	}
	r.queued = false
	if r.ring.pid(r.head) != 0 {
		r.foreign.Add(1)
		r.hold(false)
		return false
	}
	r.copied.Add(1)
	r.ring.mark(r.head) // the message is no longer in the queue
	r.hold(true)
	return true
}

// hold moves the head over a frame, which is lent or skipped.
func (r *Reader) hold(lent bool) {
	r.passed[r.head] = !lent
	r.head = r.ring.next(r.head)
	if r.lap > 0 {
		r.lap--
		r.lapped = r.lap == 0
	}
	r.held++
	if lent {
		r.lent++
	}
	r.giveBackPassed()
}

// giveBackPassed releases skipped frames at the tail.
func (r *Reader) giveBackPassed() {
	for r.held > 0 && r.passed[r.tail] {
		r.giveBack()
	}
}

// giveBack returns the oldest held frame to the kernel.
func (r *Reader) giveBack() {
	r.ring.unmark(r.tail)
	r.ring.setStatus(r.tail, Unused)
	r.tail = r.ring.next(r.tail)
	r.held--
}

// Lent is the number of messages, in place or copied, that are not yet released.
func (r *Reader) Lent() int { return int(r.lent) }

// Release returns the oldest n lent messages to the kernel, in order, and the skipped frames
// between and after them. If n exceeds Lent, it releases all.
func (r *Reader) Release(n int) {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	for ; n > 0 && r.lent > 0; n-- {
		r.giveBack()
		r.lent--
		r.giveBackPassed()
	}
	if r.lapped && r.held == 0 && r.ring.mem != nil {
		// At least one frame is unused now.
		r.lapped = false
		r.search()
	}
	if r.m.closed {
		// munmap of memory that mmap returned does not fail.
		_ = r.m.unmapIdle()
	}
}

// Fill is the number of frames in use. Frames in use are contiguous, so it checks a few frames
// per doubling of the result. Any goroutine may call it.
func (r *Reader) Fill() uint32 {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	n := r.ring.frames
	used := func(i uint32) bool { return r.ring.status((r.tail+i)%n) != Unused }
	if r.m.mem == nil || !used(0) {
		return 0
	}
	// Frames before low are in use; the frame at high is not, or does not exist.
	low, high := uint32(1), uint32(1)
	for high < n && used(high) {
		low, high = high+1, 2*high
	}
	for high = min(high, n); low < high; {
		if mid := low + (high-low)/2; used(mid) {
			low = mid + 1
		} else {
			high = mid
		}
	}
	return low
}

// CountOverrun counts an ENOBUFS, which only the socket's owner sees. ENOBUFS means that
// messages were lost, not how many. Any goroutine may call it.
func (r *Reader) CountOverrun() { r.overruns.Add(1) }

// Counters may be called from any goroutine.
func (r *Reader) Counters() ReaderCounters {
	return ReaderCounters{
		Valid:         r.valid.Load(),
		Copied:        r.copied.Load(),
		Aborted:       r.aborted.Load(),
		Oversized:     r.oversized.Load(),
		UnknownStatus: r.unknown.Load(),
		Foreign:       r.foreign.Load(),
		Answered:      r.answered.Load(),
		Waits:         r.waits.Load(),
		Overruns:      r.overruns.Load(),
	}
}

// Geometry is the ring's shape.
func (r *Reader) Geometry() Geometry { return r.ring.geo }
