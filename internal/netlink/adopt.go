package netlink

import (
	"errors"
	"fmt"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// AdoptReceiver takes over a socket, with its queue, that OpenReceiver opened in this process
// or in a previous one. ring is the state that Detach returned there, or what is known of the
// socket's ring; zero if it has none. Ring of the configuration is ignored. The socket is
// refused with an error that matches unix.EINVAL or unix.ENOTSOCK if it is of another kind or
// not bound, is in another network namespace than the calling thread, or has a ring of another
// size. On success the descriptor belongs to the Receiver, after an error to the caller.
//
// Earlier errors and drops of the socket do not appear in Receive, MemInfo and Counters.
func AdoptReceiver(protocol, fd int, ring mmapring.State, c ReceiverConfig) (*Receiver, error) {
	if c.Kernel != nil {
		r := &Receiver{sock: socket{fd: fd, portID: uint32(fd), rcvbuf: c.RcvBuf}, kernel: c.Kernel}
		return r, r.remap(ring)
	}
	portID, err := checkSocket(protocol, fd)
	if err != nil {
		return nil, &OpError{Op: "adopt", Err: fmt.Errorf("descriptor %d: %w", fd, err)}
	}
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_SETFD, unix.FD_CLOEXEC); err != nil {
		return nil, &OpError{Op: "adopt", Err: err}
	}
	if err := unix.SetNonblock(fd, true); err != nil {
		return nil, &OpError{Op: "adopt", Err: err}
	}
	// The kernel does not report whether the socket is connected. Connecting twice is harmless;
	// messages that others sent before are recognised by their sender.
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, &OpError{Op: "connect", Err: err}
	}
	r := &Receiver{sock: socket{fd: fd, portID: portID}, exposed: true}
	if err := r.sock.setBuffers(socketConfig{rcvbuf: c.RcvBuf}); err != nil {
		return nil, err
	}
	// The pending error and the drops are from before.
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		return nil, &OpError{Op: "getsockopt", Err: fmt.Errorf("SO_ERROR: %w", err)}
	}
	if m, err := r.sock.memInfo(); err == nil {
		r.sock.dropsBefore = m.Drops
	}
	return r, r.remap(ring)
}

// remap maps the socket's ring, if it has one.
func (r *Receiver) remap(s mmapring.State) error {
	if s.Geometry.IsZero() {
		return nil
	}
	var sys mmapring.Syscalls
	if r.kernel != nil {
		sys = r.kernel
	}
	m, found, err := mmapring.Remap(r.sock.fd, s, sys)
	if err != nil {
		return &OpError{Op: "adopt", Err: err}
	}
	r.mapping, r.ring, r.found, r.adopted = m, m.Reader(), found, true
	return nil
}

// checkSocket returns the port id of a descriptor that is a netlink socket of
// the protocol, bound, without groups, and of the thread's network namespace.
func checkSocket(protocol, fd int) (uint32, error) {
	for _, want := range []struct {
		name       string
		opt, value int
	}{
		{"domain", unix.SO_DOMAIN, unix.AF_NETLINK},
		{"type", unix.SO_TYPE, unix.SOCK_RAW},
		{"protocol", unix.SO_PROTOCOL, protocol},
	} {
		got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, want.opt)
		if err != nil {
			return 0, err
		}
		if got != want.value {
			return 0, fmt.Errorf("%s %d where %d is expected: %w", want.name, got, want.value, unix.EINVAL)
		}
	}
	addr, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	sa, ok := addr.(*unix.SockaddrNetlink)
	switch {
	case !ok:
		return 0, fmt.Errorf("address of type %T: %w", addr, unix.EINVAL)
	case sa.Pid == 0:
		return 0, fmt.Errorf("it is not bound: %w", unix.EINVAL)
	case sa.Groups != 0:
		return 0, fmt.Errorf("it listens to groups %#x: %w", sa.Groups, unix.EINVAL)
	}
	return sa.Pid, checkNamespace(fd)
}

// checkNamespace compares a socket's network namespace with the thread's, if the kernel has
// SO_NETNS_COOKIE (Linux >= 5.14). On other kernels it is sufficient that a vport names the
// port id.
func checkNamespace(fd int) error {
	theirs, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if errors.Is(err, unix.ENOPROTOOPT) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("SO_NETNS_COOKIE: %w", err)
	}
	own, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return err
	}
	defer unix.Close(own)
	ours, err := unix.GetsockoptUint64(own, unix.SOL_SOCKET, unix.SO_NETNS_COOKIE)
	if err != nil {
		return fmt.Errorf("SO_NETNS_COOKIE: %w", err)
	}
	if ours != theirs {
		return fmt.Errorf("it belongs to another network namespace: %w", unix.EINVAL)
	}
	return nil
}

// Detach closes the Receiver and returns its descriptor to the caller: the socket stays open
// with its queue. A ring is unmapped, but the kernel continues to fill it; ring is the state
// that the next owner needs to map it again. If a Batch holds datagrams of the ring, the error
// matches unix.EBUSY and nothing has changed.
func (r *Receiver) Detach() (fd int, ring mmapring.State, err error) {
	if err := r.lock(); err != nil {
		return -1, ring, err
	}
	defer r.mu.Unlock()
	if r.mapping != nil {
		if r.ring.Lent() > 0 {
			return -1, ring, &OpError{Op: "detach", Err: fmt.Errorf("datagrams are lent: %w", unix.EBUSY)}
		}
		ring = r.ring.State()
		if err := r.mapping.Close(); err != nil {
			return -1, ring, &OpError{Op: "detach", Err: err}
		}
		r.mapping = nil
	}
	fd, r.sock.fd = r.sock.fd, -1
	return fd, ring, nil
}
