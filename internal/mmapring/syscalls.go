package mmapring

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// SOL_NETLINK options of linux/netlink.h (4.4), gone from later headers.
const (
	optRXRing = 6 // NETLINK_RX_RING
	optTXRing = 7 // NETLINK_TX_RING
)

// Syscalls are the system calls that rings need, with the kernel's arguments. Tests use an
// emulated kernel; a nil Syscalls in a Config means the running kernel. Errors are unix.Errno.
type Syscalls interface {
	Socket(domain, typ, proto int) (fd int, err error)
	Close(fd int) error
	Setsockopt(fd, level, opt int, value []byte) error
	Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error)
	Munmap(b []byte) error
	// Sendmsg passes msg unchanged: a single iovec with a NULL base distinguishes a ring from
	// an ordinary message.
	Sendmsg(fd int, msg *unix.Msghdr, flags int) (n int, err error)
}

// Kernel is the Syscalls of the running kernel.
type Kernel struct{}

func (Kernel) Socket(domain, typ, proto int) (int, error) { return unix.Socket(domain, typ, proto) }

func (Kernel) Close(fd int) error { return unix.Close(fd) }

// Setsockopt: a string is passed as pointer and length, without a terminator.
func (Kernel) Setsockopt(fd, level, opt int, value []byte) error {
	return unix.SetsockoptString(fd, level, opt, string(value))
}

func (Kernel) Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	return unix.Mmap(fd, offset, length, prot, flags)
}

func (Kernel) Munmap(b []byte) error { return unix.Munmap(b) }

// Sendmsg is the raw call, because the wrappers of x/sys put the address of a
// dummy byte where the base must be NULL. The pointer is converted in the call's
// argument list, which keeps msg and what it points to alive and in place.
func (Kernel) Sendmsg(fd int, msg *unix.Msghdr, flags int) (int, error) {
	n, _, errno := unix.Syscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), uintptr(flags))
	if errno != 0 {
		return 0, errno
	}
	return int(n), nil
}
