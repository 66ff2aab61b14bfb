package ringtest

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SendArgs is what the kernel sees of a struct msghdr: the data of an ordinary message, or that
// there is one iovec with a NULL base.
type SendArgs struct {
	Iovs     int
	NullBase bool
	Data     []byte
}

func gather(msg *unix.Msghdr) SendArgs {
	args := SendArgs{Iovs: int(msg.Iovlen)}
	if msg.Iov == nil || args.Iovs == 0 {
		return args
	}
	iovs := unsafe.Slice(msg.Iov, args.Iovs)
	args.NullBase = iovs[0].Base == nil
	for _, iov := range iovs {
		if iov.Base != nil && iov.Len > 0 {
			args.Data = append(args.Data, unsafe.Slice(iov.Base, iov.Len)...)
		}
	}
	return args
}

// sendmsg is netlink_sendmsg.
func (s *Socket) sendmsg(args SendArgs) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.sendFault) > 0 {
		err := s.sendFault[0]
		s.sendFault = s.sendFault[1:]
		return 0, err
	}
	if s.tx == nil || args.Iovs != 1 || !args.NullBase {
		s.linear = append(s.linear, args.Data)
		return len(args.Data), nil
	}
	if s.k.cfg.TX == TXBroken {
		return 0, nil
	}
	return s.sendRing()
}

// sendRing is netlink_mmap_sendmsg: it sends frames from the head on while they are VALID, until
// one fails. An invalid length and a failed allocation leave the frame; an error of the message's
// receiver comes after the frame was consumed.
func (s *Socket) sendRing() (int, error) {
	r, sent := s.tx, 0
	for r.status(r.head) == statusValid {
		n := r.len(r.head)
		if n > r.req.frameSize-hdrLen {
			return 0, unix.EINVAL
		}
		if s.noMemory > 0 {
			if s.noMemory--; s.noMemory == 0 {
				return 0, unix.ENOBUFS
			}
		}
		msg := append([]byte(nil), r.frame(r.head)[hdrLen:hdrLen+n]...)
		if s.k.cfg.TX == TXInPlace {
			r.setStatus(r.head, statusReserved)
			r.pending++
			s.txPending = append(s.txPending, r.head)
		} else {
			r.setStatus(r.head, statusUnused)
		}
		r.advance()
		if s.handler != nil {
			if errno := s.handler(msg); errno != 0 {
				return 0, errno
			}
		}
		sent += len(msg)
	}
	return sent, nil
}

// Handle sets the handler for messages from the TX ring. It must not call the socket. An errno
// rejects the message.
func (s *Socket) Handle(f func(msg []byte) unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.handler = f
}

// FailSend makes the next send calls fail before they read the ring.
func (s *Socket) FailSend(errs ...unix.Errno) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sendFault = append(s.sendFault, errs...)
}

// FailAllocation makes the nth allocation for a ring message from now on fail once, with ENOBUFS.
func (s *Socket) FailAllocation(n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.noMemory = n
}

// FinishTX completes the frames that are RESERVED in mode TXInPlace.
func (s *Socket) FinishTX() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, pos := range s.txPending {
		s.tx.setStatus(pos, statusUnused)
		s.tx.pending--
	}
	s.txPending = nil
}

// Linear returns the ordinary messages sent since the last call.
func (s *Socket) Linear() [][]byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	msgs := s.linear
	s.linear = nil
	return msgs
}
