package netlink

import (
	"errors"
	"fmt"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// RingKernel is the kernel interface of a socket with rings. Tests use an emulated kernel; nil
// means the running one.
type RingKernel interface {
	mmapring.Syscalls
	// Recv receives one datagram into p without waiting. n may exceed len(p):
	// the rest is lost.
	Recv(fd int, p []byte) (n int, err error)
	// Poll is poll(2) for one descriptor, without waiting.
	Poll(fd int) (revents int16, err error)
	// SoError returns and clears the pending error (SO_ERROR).
	SoError(fd int) (unix.Errno, error)
}

// errDesynchronised means that a COPY frame announced a message that is not in the queue.
var errDesynchronised = errors.New("ring and queue are out of step")

// mapRing sets up the receiver's ring, or records why there is none.
func (r *Receiver) mapRing(c ReceiverConfig) {
	if c.Ring.IsZero() {
		return
	}
	cfg := mmapring.Config{RX: c.Ring}
	if c.Kernel != nil {
		cfg.Syscalls = c.Kernel
	}
	m, err := mmapring.Map(r.sock.fd, cfg)
	if err != nil {
		r.ringErr = err
		return
	}
	r.mapping, r.ring = m, m.Reader()
}

// receiveRing appends up to limit datagrams to b; those in frames are lent in place. The caller
// holds the lock.
func (r *Receiver) receiveRing(b *Batch, limit int) (int, error) {
	first, bytes, inPlace := len(b.data), 0, 0
	var err error
	for taken := 0; taken < limit; taken++ {
		payload, outcome := r.ring.Read()
		if outcome == mmapring.Queued {
			var ok bool
			if payload, ok, err = r.receiveCopy(b); err != nil {
				break
			} else if !ok {
				continue
			}
		} else if outcome == mmapring.Message {
			inPlace++
		} else {
			break
		}
		// From here on the frame is lent, even if its content is invalid.
		b.lend(r.ring)
		if !wellFormed(payload) {
			r.sock.counters.malformed.Add(1)
			continue
		}
		b.data = append(b.data, payload)
		bytes += len(payload)
	}
	n := len(b.data) - first
	r.sock.counters.receivedRing.Add(uint64(inPlace))
	r.sock.counters.bytes.Add(uint64(bytes))
	return n, err
}

// receiveCopy makes the receive call for the COPY frame at the head, into a slot of b. It
// reports whether there is a message: there is none if the frame was not the kernel's.
func (r *Receiver) receiveCopy(b *Batch) ([]byte, bool, error) {
	for {
		switch errno := r.receiveSlot(b); errno {
		case 0:
		case unix.ENOBUFS:
			// This reports an overrun; the message comes next.
			r.countOverrun()
			continue
		case unix.EAGAIN:
			if r.adopted {
				// The previous process received the message and ended.
				r.ring.Missing()
				return nil, false, nil
			}
			return nil, false, &OpError{Op: "receive", Err: fmt.Errorf("%w: %w", errDesynchronised, errno)}
		default:
			return nil, false, &OpError{Op: "receive", Err: errno}
		}
		break
	}
	if !r.ring.Copied() {
		r.sock.counters.foreign.Add(1)
		return nil, false, nil
	}
	r.sock.counters.receivedCopy.Add(1)
	slot := b.used
	if b.slots.truncated(slot) {
		r.sock.counters.truncated.Add(1)
		return nil, true, nil // an empty datagram is malformed, and released in order
	}
	b.used++
	d := b.slots.datagram(slot)
	if len(d) > int(r.ring.Geometry().Room()) {
		r.sock.counters.jumbo.Add(1)
	}
	return d, true, nil
}

// receiveSlot receives one datagram into the first free slot of b.
func (r *Receiver) receiveSlot(b *Batch) unix.Errno {
	_, errno := r.receiveSlots(b, 1)
	return errno
}

// receiveSlots receives up to n datagrams, at least one, into the free slots of b, like
// slots.receive.
func (r *Receiver) receiveSlots(b *Batch, n int) (int, unix.Errno) {
	if r.kernel == nil {
		if r.exposed {
			b.slots.askNames()
		}
		return b.slots.receive(r.sock.fd, b.used, n)
	}
	for got := 0; ; {
		size, err := r.kernel.Recv(r.sock.fd, b.slots.memory(b.used+got))
		switch errno := errnoOf(err); {
		case errno == unix.EINTR:
		case errno == 0:
			b.slots.received(b.used+got, size)
			if got++; got == n {
				return got, 0
			}
		case got > 0:
			return got, 0 // like recvmmsg; a persistent error is returned next time
		default:
			return 0, errno
		}
	}
}

// errnoOf is the errno in err, 0 for nil.
func errnoOf(err error) unix.Errno {
	if err == nil {
		return 0
	}
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return unix.EIO
	}
	return errno
}

func (r *Receiver) countOverrun() {
	r.sock.counters.overflows.Add(1)
	if r.ring != nil {
		r.ring.CountOverrun()
	}
}

// Ready reports whether the head of the receive ring has a message, with one load from memory.
// It is false without a ring.
func (r *Receiver) Ready() bool { return r.ring != nil && r.ring.Ready() }

// Geometry returns the shape of the receive ring, zero without.
func (r *Receiver) Geometry() mmapring.Geometry {
	if r.ring == nil {
		return mmapring.Geometry{}
	}
	return r.ring.Geometry()
}

// HeadUnknown reports whether the receiver took over a full ring without knowing its oldest
// frame. The next process would not know it either.
func (r *Receiver) HeadUnknown() bool { return r.ring != nil && r.ring.State().Head < 0 }

// Fill returns the number of used frames of the receive ring, 0 without a ring.
func (r *Receiver) Fill() uint32 {
	if r.ring == nil {
		return 0
	}
	return r.ring.Fill()
}

// TakenOver reports whether the receiver took over the ring of another process.
func (r *Receiver) TakenOver() bool { return r.adopted }

// Found returns what the frames of an adopted ring contained, see AdoptReceiver.
func (r *Receiver) Found() mmapring.Found { return r.found }

// RingError returns why the receiver has no ring although one was requested; nil if it has one, or
// none was requested. It matches mmapring.ErrNotSupported if the kernel has no rings.
func (r *Receiver) RingError() error { return r.ringErr }

// Poll polls the socket without waiting. After a ring was full, this makes the kernel use COPY
// frames again (netlink_poll, Linux 4.4).
func (r *Receiver) Poll() error {
	if err := r.lock(); err != nil {
		return err
	}
	defer r.mu.Unlock()
	var err error
	if r.kernel != nil {
		_, err = r.kernel.Poll(r.sock.fd)
	} else {
		fds := [1]unix.PollFd{{Fd: int32(r.sock.fd), Events: unix.POLLIN}}
		_, err = unix.Poll(fds[:], 0)
	}
	if err != nil && !errors.Is(err, unix.EINTR) {
		return &OpError{Op: "poll", Err: err}
	}
	return nil
}
