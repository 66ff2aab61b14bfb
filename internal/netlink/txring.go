package netlink

import (
	"errors"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// mapTX sets up the connection's TX ring, or records why there is none.
func (c *Conn) mapTX(cfg Config) {
	if cfg.TXRing.IsZero() {
		return
	}
	ring := mmapring.Config{TX: cfg.TXRing}
	if cfg.Kernel != nil {
		ring.Syscalls = cfg.Kernel
	}
	m, err := mmapring.Map(c.sock.fd, ring)
	if err != nil {
		c.txErr = err
		return
	}
	c.mapping, c.tx = m, m.Writer()
}

// Transport returns how Send sends. If the TX ring does not work, the connection stops using it
// and the transport becomes Linear.
func (c *Conn) Transport() Transport {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.tx != nil {
		return Ring
	}
	return Linear
}

// RingError returns why the connection has no TX ring although one was requested; nil if it has
// one, or none was requested. It matches mmapring.ErrBroken if the kernel does not send from it.
func (c *Conn) RingError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.txErr
}

// ringSend is one Send through the TX ring: messages from committed to filled are in the ring,
// those before are done.
type ringSend struct {
	c         *Conn
	b         *SendBatch
	failed    func(i int, errno unix.Errno)
	seq       uint32 // of message 0
	committed int
	filled    int
	err       error // first fault of the socket
}

// sendRing sends the messages of b in order, from ring frames if they fit, otherwise, or if the
// ring is full or does not work, by an ordinary call. A frame takes as many messages as fit,
// because each frame costs the kernel much more than a request in it.
func (c *Conn) sendRing(b *SendBatch, failed func(i int, errno unix.Errno)) error {
	s := ringSend{c: c, b: b, failed: failed, seq: c.sequence(b.Len())}
	c.packed = c.packed[:0]
	for s.filled < b.Len() {
		if s.fill() {
			continue
		}
		s.kick()
		if c.tx == nil {
			s.linear(b.Len())
		} else {
			s.linear(s.filled + 1)
		}
	}
	s.kick()
	if err := c.failures(s.seq, b.Len(), 0, failed); s.err == nil {
		s.err = err
	}
	return s.err
}

// fill copies the next messages into a frame. It returns false if there is no free frame or the
// first message does not fit.
func (s *ringSend) fill() bool {
	tx := s.c.tx
	if tx == nil || s.b.msgs[s.filled].size > tx.Room() {
		return false
	}
	room, err := tx.Reserve()
	if err != nil {
		return false
	}
	n, next := 0, s.filled
	for next < s.b.Len() && s.b.msgs[next].size <= len(room)-n {
		n += s.copyMessage(room[n:], next)
		next++
	}
	if err := tx.Commit(n); err != nil {
		return false
	}
	s.c.packed = append(s.c.packed, next-s.filled)
	s.filled = next
	return true
}

// copyMessage copies message i, whose length is a multiple of messageAlign, and returns
// the length.
func (s *ringSend) copyMessage(to []byte, i int) int {
	m, buf := s.b.msgs[i], s.b.enc.buf
	stamp(buf[m.start:], unix.NLM_F_REQUEST, s.seq+uint32(i), s.c.sock.portID)
	if m.gathered == noPayload {
		return copy(to, buf[m.start:m.start+m.size])
	}
	p := &s.b.payloads[m.gathered]
	n := copy(to, buf[m.start:p.head])
	n += copy(to[n:], p.payload)
	return n + copy(to[n:], buf[p.tail:p.end])
}

// kick makes the kernel send the ring's messages. Those that it does not take are sent by
// ordinary calls.
func (s *ringSend) kick() {
	for s.committed < s.filled {
		frames, err := s.c.tx.Kick()
		n, last := 0, 0 // messages in these frames, and in the last one
		for _, last = range s.c.packed[:frames] {
			n += last
		}
		s.c.packed = append(s.c.packed[:0], s.c.packed[frames:]...)
		s.committed += n
		if err != nil && s.fault(err, last) {
			n -= last
		}
		s.c.sock.counters.sentRing.Add(uint64(n))
	}
}

// fault handles an error of the ring: either the last committed frame, with the given number of
// messages, was refused, or the remaining messages must be sent otherwise. It reports whether a
// frame was refused.
func (s *ringSend) fault(err error, messages int) bool {
	var refused *mmapring.FrameError
	if errors.As(err, &refused) {
		for i := s.committed - messages; i < s.committed; i++ {
			s.failed(i, errnoOf(refused.Err))
		}
		return true
	}
	if errors.Is(err, mmapring.ErrBroken) {
		s.c.giveUpTX(err)
	}
	s.c.packed = s.c.packed[:0]
	s.linear(s.filled)
	return false
}

// linear sends the messages from committed up to end by ordinary calls.
func (s *ringSend) linear(end int) {
	for s.committed < end {
		l := limits{messages: end - s.committed, bytes: s.c.sock.sndbuf - sendOverhead}
		n := s.b.part(s.committed, l, unix.NLM_F_REQUEST, s.seq+uint32(s.committed), s.c.sock.portID)
		errno := unix.EMSGSIZE
		if n > 0 {
			errno = s.c.sendmsg(&s.b.hdr)
			s.b.sent()
		}
		n = max(n, 1)
		if errno == 0 {
			s.c.sock.counters.sentLinear.Add(uint64(n))
		} else {
			for i := range n {
				s.failed(s.committed+i, errno)
			}
			if s.err == nil {
				s.err = &OpError{Op: "send", Err: errno}
			}
		}
		s.committed += n
	}
	s.filled = max(s.filled, end)
}

// giveUpTX stops using a TX ring that does not work.
func (c *Conn) giveUpTX(why error) {
	if err := c.mapping.Close(); err != nil {
		why = errors.Join(why, err)
	}
	c.mapping, c.tx, c.txErr = nil, nil, why
}

// write sends one buffer.
func (c *Conn) write(b []byte) error {
	if c.kernel == nil {
		_, err := unix.Write(c.sock.fd, b)
		return err
	}
	iov := unix.Iovec{Base: &b[0]}
	iov.SetLen(len(b))
	hdr := unix.Msghdr{Iov: &iov}
	hdr.SetIovlen(1)
	_, err := c.kernel.Sendmsg(c.sock.fd, &hdr, 0)
	return err
}

// sendmsg is one ordinary send.
func (c *Conn) sendmsg(hdr *unix.Msghdr) unix.Errno {
	if c.kernel == nil {
		return sendmsg(c.sock.fd, hdr)
	}
	for {
		_, err := c.kernel.Sendmsg(c.sock.fd, hdr, unix.MSG_DONTWAIT)
		if errno := errnoOf(err); errno != unix.EINTR {
			return errno
		}
	}
}
