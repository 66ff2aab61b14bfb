package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// socket is an open netlink socket. Its users hold the lock that prevents fd from being closed.
type socket struct {
	fd     int // -1 once closed
	portID uint32
	rcvbuf int
	sndbuf int
	// anySender accepts datagrams that the kernel did not send.
	anySender bool
	// dropsBefore is the number of drops before this process had the socket.
	dropsBefore uint32
	counters    counters
}

// socketConfig configures the opening of a socket. Sizes are bytes, 0 keeps the kernel's default.
// anySender leaves the socket unconnected and open to messages of other processes.
type socketConfig struct {
	rcvbuf, sndbuf int
	anySender      bool
	kernel         RingKernel // nil: the running kernel
}

// maxBuffer is half of the largest int, because the kernel doubles the value.
const maxBuffer = 1<<30 - 1

func (s *socket) open(protocol int, c socketConfig) (err error) {
	for _, size := range []int{c.rcvbuf, c.sndbuf} {
		if size < 0 || size > maxBuffer {
			return &OpError{Op: "open", Err: fmt.Errorf("buffer size %d is not within 0 and %d: %w", size, maxBuffer,
				unix.EINVAL)}
		}
	}
	if c.kernel != nil {
		return s.openEmulated(protocol, c)
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return &OpError{Op: "open", Err: fmt.Errorf("protocol %d: %w", protocol, err)}
	}
	s.fd, s.anySender = fd, c.anySender
	defer func() {
		if err != nil {
			unix.Close(fd)
			s.fd = -1
		}
	}()
	if err := s.setBuffers(c); err != nil {
		return err
	}
	if !c.anySender {
		// Connect binds too. A message that another process sends before it is recognised by
		// its sender.
		if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			return &OpError{Op: "connect", Err: err}
		}
	} else if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return &OpError{Op: "bind", Err: err}
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return &OpError{Op: "getsockname", Err: err}
	}
	sa, ok := addr.(*unix.SockaddrNetlink)
	if !ok {
		return &OpError{Op: "getsockname", Err: fmt.Errorf("address of type %T", addr)}
	}
	s.portID = sa.Pid
	return nil
}

// openEmulated opens a socket of a test's kernel. Its address is that of the real socket behind
// it, or else its descriptor.
func (s *socket) openEmulated(protocol int, c socketConfig) error {
	fd, err := c.kernel.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, protocol)
	if err != nil {
		return &OpError{Op: "open", Err: err}
	}
	s.fd, s.portID = fd, uint32(fd)
	s.rcvbuf, s.sndbuf = max(c.rcvbuf, maxDatagram), max(c.sndbuf, maxDatagram)
	if addr, err := unix.Getsockname(fd); err == nil {
		if sa, ok := addr.(*unix.SockaddrNetlink); ok {
			s.portID = sa.Pid
		}
	}
	return nil
}

func (s *socket) setBuffers(c socketConfig) (err error) {
	if s.rcvbuf, err = s.setBuffer("receive", c.rcvbuf, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF); err != nil {
		return err
	}
	s.sndbuf, err = s.setBuffer("send", c.sndbuf, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF)
	return err
}

// setBuffer requests a buffer size and returns the granted size. The force variant exceeds the
// sysctl limit but needs CAP_NET_ADMIN in the initial user namespace; without it the plain one
// silently grants what the limit allows.
func (s *socket) setBuffer(name string, size, force, plain int) (int, error) {
	if size > 0 {
		err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, force, size)
		if errors.Is(err, unix.EPERM) {
			err = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, plain, size)
		}
		if err != nil {
			return 0, &OpError{Op: "setsockopt", Err: fmt.Errorf("%s buffer of %d bytes: %w", name, size, err)}
		}
	}
	granted, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, plain)
	if err != nil {
		return 0, &OpError{Op: "getsockopt", Err: fmt.Errorf("%s buffer: %w", name, err)}
	}
	return granted, nil
}

// enable sets a boolean option of SOL_NETLINK if the kernel has it.
func (s *socket) enable(opt int) error {
	err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, opt, 1)
	if err != nil && !errors.Is(err, unix.ENOPROTOOPT) && !errors.Is(err, unix.EOPNOTSUPP) {
		return &OpError{Op: "setsockopt", Err: fmt.Errorf("netlink option %d: %w", opt, err)}
	}
	return nil
}

func (s *socket) membership(opt int, group uint32) error {
	if err := unix.SetsockoptInt(s.fd, unix.SOL_NETLINK, opt, int(group)); err != nil {
		op := "join"
		if opt == unix.NETLINK_DROP_MEMBERSHIP {
			op = "leave"
		}
		return &OpError{Op: op, Err: fmt.Errorf("multicast group %d: %w", group, err)}
	}
	return nil
}

// close closes the socket of the running kernel, or of the one given.
func (s *socket) close(k RingKernel) (err error) {
	fd := s.fd
	if fd < 0 {
		return nil
	}
	s.fd = -1
	if k != nil {
		err = k.Close(fd)
	} else {
		err = unix.Close(fd)
	}
	if err != nil {
		return &OpError{Op: "close", Err: err}
	}
	return nil
}

// receiveError converts the errno of a receive to an error, and counts an overflow. It returns nil
// for EAGAIN.
func (s *socket) receiveError(errno unix.Errno) error {
	switch errno {
	case 0, unix.EAGAIN:
		return nil
	case unix.ENOBUFS:
		s.counters.overflows.Add(1)
		return errOverflow
	default:
		return &OpError{Op: "receive", Err: errno}
	}
}

// socketError reads SO_ERROR from the socket, which also ends the EPOLLERR.
func (s *socket) socketError() error {
	code, err := unix.GetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err != nil {
		return &OpError{Op: "getsockopt", Err: fmt.Errorf("SO_ERROR: %w", err)}
	}
	return s.receiveError(unix.Errno(code))
}

// MemInfo is the memory accounting of a socket (SO_MEMINFO, linux/sock_diag.h).
type MemInfo struct {
	QueuedBytes uint32 // memory of waiting messages
	RcvBuf      uint32 // limit of that, in bytes
	Drops       uint32 // datagrams the kernel dropped; wraps around
}

// memInfo reads SO_MEMINFO (Linux 4.12 and later).
func (s *socket) memInfo() (MemInfo, error) {
	var info [unix.SK_MEMINFO_VARS]uint32
	if errno := getsockoptUint32s(s.fd, unix.SOL_SOCKET, unix.SO_MEMINFO, info[:]); errno != 0 {
		return MemInfo{}, &OpError{Op: "getsockopt", Err: fmt.Errorf("SO_MEMINFO: %w", errno)}
	}
	return MemInfo{
		QueuedBytes: info[unix.SK_MEMINFO_RMEM_ALLOC],
		RcvBuf:      info[unix.SK_MEMINFO_RCVBUF],
		Drops:       info[unix.SK_MEMINFO_DROPS] - s.dropsBefore,
	}, nil
}

// verdict is the result of classify.
type verdict uint8

const (
	accepted         verdict = iota
	foreign                  // not sent by the kernel
	truncated                // larger than its slot; only a header at its front may be read
	malformedMessage         // not a sequence of whole messages
)

// classify decides whether the datagram in slot i is delivered, and counts it.
func (s *socket) classify(b *slots, i int) verdict {
	switch {
	case b.sender(i) != 0 && !s.anySender:
		s.counters.foreign.Add(1)
		return foreign
	case b.truncated(i):
		s.counters.truncated.Add(1)
		return truncated
	case !wellFormed(b.datagram(i)):
		s.counters.malformed.Add(1)
		return malformedMessage
	default:
		return accepted
	}
}
