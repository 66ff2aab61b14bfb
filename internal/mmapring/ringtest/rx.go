package ringtest

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// ErrTooBig means that a message cannot be sent in a VALID frame.
var ErrTooBig = errors.New("estimate exceeds the frame's room")

// Pending is a frame in state RESERVED. Its message is written without a lock, as on the kernel's
// CPUs, and then completed by one Complete or Abort.
type Pending struct {
	s   *Socket
	r   *pages
	pos uint32
	// Seq counts the kernel's attempts to deliver to the socket, from 0.
	Seq uint64
}

// Reserve reserves the frame at the kernel's head for a message (netlink_alloc_skb). estimate is
// the size that the kernel assumes. Errors: ErrTooBig if the message must be queued instead;
// ENOBUFS if the ring is full and the message is lost.
func (s *Socket) Reserve(estimate int) (*Pending, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.rx
	if r == nil || int(r.req.frameSize)-hdrLen < estimate {
		return nil, ErrTooBig
	}
	s.forward()
	seq := s.seq
	s.seq++
	if r.status(r.head) != statusUnused {
		s.stats.Lost++
		s.overrun()
		return nil, unix.ENOBUFS
	}
	p := &Pending{s: s, r: r, pos: r.head, Seq: seq}
	r.setStatus(r.head, statusReserved)
	r.pending++
	r.advance()
	return p, nil
}

// forward is netlink_forward_ring. Linux 4.1 checks the same frame again and again, so with a SKIP
// the head goes once round the ring to where it was.
func (s *Socket) forward() {
	if s.rx.status(s.rx.head) != statusSkip {
		return
	}
	if s.k.cfg.Version == V41 {
		s.stats.SkipStall = true
		return
	}
	for range s.rx.req.frameNr {
		if s.rx.status(s.rx.head) != statusSkip {
			return
		}
		s.rx.advance()
	}
}

// Room is the memory for the message.
func (p *Pending) Room() []byte { return p.r.frame(p.pos)[hdrLen:] }

// Complete publishes the frame: VALID, with n bytes (netlink_queue_mmaped_skb).
func (p *Pending) Complete(n int) {
	f := p.r.frame(p.pos)
	p.r.setLen(p.pos, uint32(n))
	clear(f[8:hdrLen]) // group, pid, uid, gid of a message from the kernel
	p.finish(&p.s.stats.Valid)
	p.s.signal()
}

// Abort drops the message: VALID with length 0, without a wake-up.
func (p *Pending) Abort() {
	p.r.setLen(p.pos, 0)
	p.finish(&p.s.stats.Aborted)
}

func (p *Pending) finish(count *uint64) {
	p.r.setStatus(p.pos, statusValid)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	p.r.pending--
	*count++
}

// Queue delivers a message through the queue, with a COPY frame if there is a ring
// (netlink_attachskb, netlink_ring_set_copied). fill creates it for the given Seq. A nil error does
// not mean that it was delivered: a COPY message is dropped without an error if the ring is full.
func (s *Socket) Queue(fill func(seq uint64) []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	seq := s.seq
	s.seq++
	if s.congested || s.rmem > s.k.cfg.RcvBuf {
		s.stats.Lost++
		s.overrun()
		return unix.EAGAIN
	}
	msg := fill(seq)
	if s.rx != nil {
		pos := s.rx.head
		if s.rx.status(pos) != statusUnused {
			s.stats.CopyLost++
			s.overrun()
			return nil
		}
		s.rx.advance()
		s.enqueue(msg)
		s.rx.setHeader(pos, Header{Status: statusCopy, Len: uint32(len(msg))})
	} else {
		s.enqueue(msg)
	}
	s.stats.Copied++
	s.signal()
	return nil
}

func (s *Socket) enqueue(msg []byte) {
	s.queue = append(s.queue, msg)
	s.rmem += len(msg) + 768 // an sk_buff and its shared information
}

// Deliver sends msg as the kernel would: in a frame if it fits by its estimate, otherwise through
// the queue.
func (s *Socket) Deliver(msg []byte) error {
	p, err := s.Reserve(len(msg) + s.k.cfg.Overhead)
	switch {
	case errors.Is(err, ErrTooBig):
		return s.Queue(func(uint64) []byte { return append([]byte(nil), msg...) })
	case err != nil:
		return err
	}
	if n := copy(p.Room(), msg); n != len(msg) {
		p.Abort()
		return fmt.Errorf("ringtest: message of %d bytes in a frame of %d", len(msg), n)
	}
	p.Complete(len(msg))
	return nil
}

// overrun is netlink_overrun: one ENOBUFS per congestion. The caller holds s.mu.
func (s *Socket) overrun() {
	if !s.congested {
		s.congested = true
		s.soErr = unix.ENOBUFS
		s.stats.Overruns++
		s.signal()
	}
	s.stats.Drops++
}

// rcvWake is netlink_rcv_wake. The caller holds s.mu.
func (s *Socket) rcvWake() {
	if len(s.queue) == 0 {
		s.congested = false
	}
}

// recv returns a pending error instead of the message.
func (s *Socket) recv(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.recvFault) > 0 {
		err := s.recvFault[0]
		s.recvFault = s.recvFault[1:]
		return 0, err
	}
	defer s.rcvWake()
	if s.soErr != 0 {
		err := s.soErr
		s.soErr = 0
		return 0, err
	}
	if len(s.queue) == 0 {
		return 0, unix.EAGAIN
	}
	msg := s.queue[0]
	s.queue = s.queue[1:]
	s.rmem -= len(msg) + 768
	copy(p, msg)
	return len(msg), nil
}

// FailRecv makes the next receive calls fail without an effect on the queue.
func (s *Socket) FailRecv(errs ...unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recvFault = append(s.recvFault, errs...)
}

// Queued returns the number of queued messages.
func (s *Socket) Queued() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.queue)
}

// Congested reports whether the kernel rejects COPY messages.
func (s *Socket) Congested() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.congested
}

func (s *Socket) soError() unix.Errno {
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.soErr
	s.soErr = 0
	return err
}

// poll is netlink_poll. It does not clear the error. Output is always possible.
func (s *Socket) poll() int16 {
	s.mu.Lock()
	defer s.mu.Unlock()
	mask := int16(unix.POLLOUT)
	if s.rx != nil {
		s.rcvWake()
	}
	if s.soErr != 0 {
		mask |= unix.POLLERR
	}
	if len(s.queue) > 0 {
		mask |= unix.POLLIN
	}
	if s.rx != nil && s.frameToRead() {
		mask |= unix.POLLIN
	}
	return mask
}

func (s *Socket) frameToRead() bool {
	s.forward()
	if s.k.cfg.Version == V41 {
		return s.rx.status(s.rx.previous()) != statusUnused
	}
	for pos := range s.rx.req.frameNr {
		if s.rx.status(pos) == statusValid {
			return true
		}
	}
	return false
}
