package mmapring

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrNotSupported means that the kernel has no rings. The error that matches it also
	// carries the errno.
	ErrNotSupported = errors.New("kernel has no memory-mapped netlink")
	// ErrClosed is returned by calls after Mapping.Close.
	ErrClosed = fmt.Errorf("netlink ring: %w", os.ErrClosed)
	// ErrFull says that the TX ring has no free frame.
	ErrFull = errors.New("netlink TX ring is full")
	// ErrTooLarge says that a message does not fit a frame of the TX ring.
	ErrTooLarge = errors.New("message exceeds the room of a TX ring frame")
	// ErrBroken means that the kernel accepts the send call but does not take the frame (seen
	// on Linux 4.1.6). Only linear sends work on that kernel.
	ErrBroken = errors.New("kernel does not send from the TX ring")
	// ErrNotReserved says that Commit was called without a Reserve before it.
	ErrNotReserved = errors.New("no TX ring frame is reserved")
)

// OpError is a failed system call of setting up a ring. It matches the errno, and
// ErrNotSupported if the errno means that there are no rings.
type OpError struct {
	Op  string // "socket", "setsockopt NETLINK_RX_RING", "mmap", ...
	Err error
}

func (e *OpError) Error() string {
	s := "netlink ring: " + e.Op + ": " + e.Err.Error()
	switch {
	case e.notSupported():
		s += " (" + ErrNotSupported.Error() + ")"
	case errors.Is(e.Err, unix.EPERM):
		s += " (needs CAP_NET_ADMIN in the initial user namespace)"
	}
	return s
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// Is matches ErrNotSupported.
func (e *OpError) Is(target error) bool { return target == ErrNotSupported && e.notSupported() }

// notSupported: setsockopt returns ENOPROTOOPT for an unknown option, mmap ENODEV for a socket
// that cannot be mapped.
func (e *OpError) notSupported() bool {
	return errors.Is(e.Err, unix.ENOPROTOOPT) || errors.Is(e.Err, unix.ENODEV)
}

// FrameError means that the kernel consumed one frame of the TX ring and rejected its message.
type FrameError struct {
	Err error
}

func (e *FrameError) Error() string {
	return "netlink TX ring: message refused: " + e.Err.Error()
}

// Unwrap returns Err.
func (e *FrameError) Unwrap() error { return e.Err }
