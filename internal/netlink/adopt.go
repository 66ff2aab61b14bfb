package netlink

import (
	"errors"
	"fmt"

	"golang.org/x/sys/unix"
)

// AdoptReceiver takes over a socket that OpenReceiver opened, in this process or
// in one before it, with what is queued on it. It is linear: Ring and Kernel of
// the configuration are not looked at. A socket of another kind, of another
// network namespace than the calling thread's, or one that is not bound, is
// refused with an error that matches unix.EINVAL or unix.ENOTSOCK. The
// descriptor belongs to the Receiver from then on, and to the caller after an
// error.
//
// Errors and drops that the socket had before are not the Receiver's: they do
// not show in Receive, MemInfo and Counters.
func AdoptReceiver(protocol, fd int, c ReceiverConfig) (*Receiver, error) {
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
	// Whether it is connected cannot be asked. To do it twice is harmless, and
	// what others sent before is told by its sender.
	if err := unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, &OpError{Op: "connect", Err: err}
	}
	r := &Receiver{sock: socket{fd: fd, portID: portID}}
	if err := r.sock.setBuffers(socketConfig{rcvbuf: c.RcvBuf}); err != nil {
		return nil, err
	}
	// The pending error is of losses before, as are the drops.
	if _, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR); err != nil {
		return nil, &OpError{Op: "getsockopt", Err: fmt.Errorf("SO_ERROR: %w", err)}
	}
	if m, err := r.sock.memInfo(); err == nil {
		r.sock.dropsBefore = m.Drops
	}
	return r, nil
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

// checkNamespace compares a socket's network namespace with the thread's, on
// kernels that tell (SO_NETNS_COOKIE, Linux >= 5.14). On others a port id that
// a vport names is proof enough.
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

// Detach gives the descriptor to the caller: the socket lives on with what is
// queued, and the Receiver is closed. A socket with a ring cannot be handed
// over, since what is in its frames would be lost: the error then matches
// unix.EBUSY and nothing has changed.
func (r *Receiver) Detach() (fd int, err error) {
	if err := r.lock(); err != nil {
		return -1, err
	}
	defer r.mu.Unlock()
	if r.mapping != nil {
		return -1, &OpError{Op: "detach", Err: fmt.Errorf("the socket has a ring: %w", unix.EBUSY)}
	}
	fd, r.sock.fd = r.sock.fd, -1
	return fd, nil
}
