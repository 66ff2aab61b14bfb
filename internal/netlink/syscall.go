package netlink

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the package's only use of unsafe. The kernel reads and writes
// structures whose layout x/sys/unix takes from the C headers. Each pointer is
// converted to uintptr in the argument list of the system call, which keeps
// its target in place until the call returns (unsafe.Pointer, rule 4); what
// the target points at in turn is held by typed pointers (Msghdr.Iov,
// Iovec.Base) in heap objects, which the garbage collector follows and does not
// move, or is memory outside of Go's heap.
//
// Batches are sent and received by RawSyscall, since neither waits for
// anything to arrive: a thread that tells Go's scheduler of a call loses its processor
// when that takes more than about 20 us, as a batch does, and then has to get one
// back. The price is that garbage collection waits for a batch under way.

// mmsghdr is struct mmsghdr, linux/socket.h. Go pads its end as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received
}

// sendmsg sends one datagram without waiting. EINTR is retried: netlink
// returns it before anything was queued.
func sendmsg(fd int, msg *unix.Msghdr) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// getsockoptUint32s reads an option that is an array of 32-bit numbers. What
// the kernel does not fill stays as it was.
func getsockoptUint32s(fd, level, opt int, v []uint32) unix.Errno {
	size := uint32(len(v)) * 4
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(opt),
		uintptr(unsafe.Pointer(&v[0])), uintptr(unsafe.Pointer(&size)), 0)
	return errno
}

// maxDatagram is the room for one datagram: a packet of 64 KiB and what the
// kernel sends with it (headers, key, actions, userdata).
const maxDatagram = 64<<10 + 4<<10

// slots is memory to receive datagrams into, one per slot. It is mapped
// anonymously, so only the pages that were written to are ever present.
// Message headers point into the arrays, which never grow.
type slots struct {
	mem   []byte
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrNetlink
}

func (s *slots) mmap(n int) error {
	mem, err := unix.Mmap(-1, 0, n*maxDatagram, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return &OpError{Op: "mmap", Err: fmt.Errorf("room for %d datagrams: %w", n, err)}
	}
	// Huge pages would make resident what no datagram needs. Kernels without
	// them refuse, and have none.
	_ = unix.Madvise(mem, unix.MADV_NOHUGEPAGE)
	*s = slots{
		mem:   mem,
		msgs:  make([]mmsghdr, n),
		iovs:  make([]unix.Iovec, n),
		names: make([]unix.RawSockaddrNetlink, n),
	}
	for i := range s.msgs {
		s.iovs[i].Base = &mem[i*maxDatagram]
		s.iovs[i].SetLen(maxDatagram)
		hdr := &s.msgs[i].hdr
		hdr.Iov = &s.iovs[i]
		hdr.SetIovlen(1)
		// The kernel writes the size of the address back, which for netlink
		// is what stands here already.
		hdr.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		hdr.Namelen = unix.SizeofSockaddrNetlink
	}
	return nil
}

// munmap gives the memory back. Nobody may hold a datagram any more.
func (s *slots) munmap() error {
	mem := s.mem
	if mem == nil {
		return nil
	}
	*s = slots{}
	if err := unix.Munmap(mem); err != nil {
		return &OpError{Op: "munmap", Err: err}
	}
	return nil
}

func (s *slots) len() int { return len(s.msgs) }

// receive fills up to n slots, which must be one at least, from slot i on,
// without waiting. EINTR is retried.
//
// An error that comes after the first datagram is kept by the kernel for the
// next call, so n > 0 and an errno exclude each other.
func (s *slots) receive(fd, i, n int) (int, unix.Errno) {
	msgs := s.msgs[i : i+n]
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&msgs[0])),
			uintptr(len(msgs)), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			return int(n), 0
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// datagram returns what slot i received.
//
// The base is the slot's address in mem and the kernel wrote len <= maxDatagram
// bytes there, so the slice stays inside of the mapping.
func (s *slots) datagram(i int) []byte {
	n := s.msgs[i].len
	return unsafe.Slice(s.iovs[i].Base, n)[:n:n]
}

// memory is slot i's memory.
func (s *slots) memory(i int) []byte { return unsafe.Slice(s.iovs[i].Base, maxDatagram) }

// received notes that n bytes came for slot i, from the kernel, by other means
// than receive. What exceeded the slot is lost.
func (s *slots) received(i, n int) {
	s.msgs[i].len = uint32(min(n, maxDatagram))
	s.names[i].Pid = 0
	s.msgs[i].hdr.Flags = 0
	if n > maxDatagram {
		s.msgs[i].hdr.Flags = unix.MSG_TRUNC
	}
}

// truncated reports whether slot i was too small for its datagram.
func (s *slots) truncated(i int) bool { return s.msgs[i].hdr.Flags&unix.MSG_TRUNC != 0 }

// sender returns the port id that sent slot i's datagram, 0 for the kernel.
func (s *slots) sender(i int) uint32 { return s.names[i].Pid }

// swap exchanges the memory of two slots.
func (s *slots) swap(i, j int) {
	s.iovs[i].Base, s.iovs[j].Base = s.iovs[j].Base, s.iovs[i].Base
}
