package mmapring

import (
	"errors"
	"sync/atomic"

	"golang.org/x/sys/unix"
)

// WriterCounters count the messages of a TX ring since it was mapped.
type WriterCounters struct {
	Sent      uint64 // messages that the kernel took
	Refused   uint64 // messages that the kernel took off the ring with an error
	TakenBack uint64 // messages that the kernel did not take
	Full      uint64 // reservations that found no free frame
	TooLarge  uint64 // messages that exceed the room
}

// Writer writes the TX ring: Reserve, fill, Commit, repeated while there is room, then Kick.
// Its owner serialises the calls.
type Writer struct {
	m    *Mapping
	ring ring

	head     uint32 // next frame to fill
	tail     uint32 // oldest committed frame
	pending  uint32 // frames from tail to head
	reserved bool
	broken   bool

	msg unix.Msghdr
	iov unix.Iovec // Base stays nil, which makes a send a ring send

	sent, refused, takenBack, full, tooLarge atomic.Uint64
}

func newWriter(m *Mapping, r ring) *Writer {
	w := &Writer{m: m, ring: r}
	w.msg.Iov = &w.iov
	w.msg.SetIovlen(1)
	return w
}

// Room is the maximum size of a message in bytes, including netlink headers.
func (w *Writer) Room() int { return int(w.ring.room) }

// Geometry is the ring's shape.
func (w *Writer) Geometry() Geometry { return w.ring.geo }

// Reserve lends the room of the next free frame, until Commit. A second
// Reserve returns the same room. Errors: ErrFull, ErrBroken, ErrClosed.
func (w *Writer) Reserve() ([]byte, error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	switch {
	case w.m.closed:
		return nil, ErrClosed
	case w.broken:
		return nil, ErrBroken
	case w.pending == w.ring.frames || w.ring.status(w.head) != Unused:
		w.full.Add(1)
		return nil, ErrFull
	}
	w.reserved = true
	return w.ring.payload(w.head, w.ring.room), nil
}

// Commit makes the first n bytes of the reserved room a message. The kernel
// takes it at the next Kick. After an error the frame is free again; n 0 gives it up.
func (w *Writer) Commit(n int) error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if !w.reserved {
		return ErrNotReserved
	}
	w.reserved = false
	switch {
	case w.m.closed:
		return errors.Join(ErrClosed, w.m.unmapIdle())
	case n <= 0 || n > int(w.ring.room):
		// The kernel would refuse it with EINVAL and stay at this frame.
		w.tooLarge.Add(1)
		return ErrTooLarge
	}
	w.ring.setHeader(w.head, uint32(n))
	w.ring.setStatus(w.head, Valid)
	w.head = w.ring.next(w.head)
	w.pending++
	return nil
}

// Kick makes the kernel take the committed messages. n messages, oldest first, have left the
// ring.
//
// With a nil error that is all of them. With a *FrameError the last of the n was refused, and
// those after it are still committed: Kick again. With any other error the messages after the n
// were taken back, so that they cannot be sent later, and the caller must send them otherwise.
// After ErrBroken the ring is unusable.
func (w *Writer) Kick() (n int, err error) {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.m.closed {
		return 0, ErrClosed
	}
	if w.broken {
		return 0, ErrBroken
	}
	for w.pending > 0 {
		// MSG_DONTWAIT: Linux 3.x would wait for frames that it still processes.
		_, errno := w.m.sys.Sendmsg(w.m.fd, &w.msg, unix.MSG_DONTWAIT)
		moved := w.collect()
		n += moved
		refused := errno != nil && errno != unix.EINTR && moved > 0 && (w.pending == 0 || !leavesFrame(errno))
		if refused {
			w.sent.Add(uint64(moved - 1))
			w.refused.Add(1)
			return n, &FrameError{Err: errno}
		}
		w.sent.Add(uint64(moved))
		switch {
		case errno == unix.EINTR:
		case moved == 0 && errno == nil:
			w.broken = true
			w.takeBack()
			return n, ErrBroken
		case moved == 0:
			w.takeBack()
			return n, &OpError{Op: "sendmsg", Err: errno}
		}
	}
	return n, nil
}

// leavesFrame reports whether the kernel returns errno before it takes the frame: for a length
// that it refuses, or for lack of memory (netlink_mmap_sendmsg, Linux 4.4). All other errors
// come later.
func leavesFrame(errno error) bool {
	return errno == unix.EINVAL || errno == unix.ENOBUFS
}

// collect moves past the frames that the kernel has taken and counts them. A frame that the
// kernel still processes (RESERVED, Linux 3.x) is taken; Reserve does not lend it before it is
// free.
func (w *Writer) collect() (moved int) {
	for w.pending > 0 && w.ring.status(w.tail) != Valid {
		w.tail = w.ring.next(w.tail)
		w.pending--
		moved++
	}
	return moved
}

// takeBack frees all committed frames, newest first, and moves the head back to the oldest,
// where the kernel continues; a gap would stop it.
func (w *Writer) takeBack() {
	w.takenBack.Add(uint64(w.pending))
	for w.pending > 0 {
		w.pending--
		w.ring.setStatus((w.tail+w.pending)%w.ring.frames, Unused)
	}
	w.head = w.tail
	w.reserved = false
}

// Counters may be called from any goroutine.
func (w *Writer) Counters() WriterCounters {
	return WriterCounters{
		Sent:      w.sent.Load(),
		Refused:   w.refused.Load(),
		TakenBack: w.takenBack.Load(),
		Full:      w.full.Load(),
		TooLarge:  w.tooLarge.Load(),
	}
}
