package netlink

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// This file is the package's only use of unsafe. The kernel reads and writes structures whose
// layout x/sys/unix takes from the C headers. Each pointer is converted to uintptr in the
// argument list of the system call, which keeps its target in place until the call returns
// (unsafe.Pointer, rule 4); the memory that the target points to is referenced by typed
// pointers (Msghdr.Iov, Iovec.Base) in heap objects, which the garbage collector follows and
// does not move, or is outside Go's heap.
//
// Batches are sent and received by RawSyscall, because neither call blocks. A thread that announces
// a call to Go's scheduler loses its processor if the call takes more than about 20 us, as a batch
// does, and must get one back. The cost is that garbage collection waits for a running batch.

// mmsghdr is struct mmsghdr, linux/socket.h. Go pads its end as C does.
type mmsghdr struct {
	hdr unix.Msghdr
	len uint32 // bytes received
}

// sendmsg sends one datagram without waiting. EINTR is retried: netlink returns it before anything
// is queued.
func sendmsg(fd int, msg *unix.Msghdr) unix.Errno {
	for {
		_, _, errno := unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(msg)), unix.MSG_DONTWAIT)
		if errno != unix.EINTR {
			return errno
		}
	}
}

// getsockoptUint32s reads an option that is an array of 32-bit numbers. Elements that the
// kernel does not fill are unchanged.
func getsockoptUint32s(fd, level, opt int, v []uint32) unix.Errno {
	size := uint32(len(v)) * 4
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), uintptr(level), uintptr(opt),
		uintptr(unsafe.Pointer(&v[0])), uintptr(unsafe.Pointer(&size)), 0)
	return errno
}

// maxDatagram is the room for one datagram: a packet of 64 KiB with headers, key, actions and
// userdata.
const maxDatagram = 64<<10 + 4<<10

// slots is memory for received datagrams, one per slot. It is mapped anonymously, so only pages
// that were written to are present. Message headers point into the arrays, which never grow.
type slots struct {
	mem   []byte
	msgs  []mmsghdr
	iovs  []unix.Iovec
	names []unix.RawSockaddrNetlink
	named bool // msgs ask for names
}

func (s *slots) mmap(n int) error {
	mem, err := unix.Mmap(-1, 0, n*maxDatagram, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS)
	if err != nil {
		return &OpError{Op: "mmap", Err: fmt.Errorf("room for %d datagrams: %w", n, err)}
	}
	// Huge pages would make unused memory resident. Kernels without huge pages return an error.
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
	}
	return nil
}

// askNames has receive ask who sent each datagram, from now on. Otherwise sender returns 0.
func (s *slots) askNames() {
	if s.named {
		return
	}
	s.named = true
	for i := range s.msgs {
		// The kernel writes the size of the address back; for netlink it does not change.
		hdr := &s.msgs[i].hdr
		hdr.Name = (*byte)(unsafe.Pointer(&s.names[i]))
		hdr.Namelen = unix.SizeofSockaddrNetlink
	}
}

// munmap unmaps the memory. No datagram may be in use.
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

// receive fills up to n slots, at least one, from slot i on, without waiting. EINTR is retried.
//
// The kernel keeps an error after the first datagram for the next call, so n > 0 and an errno
// exclude each other.
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

// datagram returns the datagram received in slot i.
//
// The base is the slot's address in mem and the kernel wrote len <= maxDatagram
// bytes there, so the slice stays inside of the mapping.
func (s *slots) datagram(i int) []byte {
	n := s.msgs[i].len
	return unsafe.Slice(s.iovs[i].Base, n)[:n:n]
}

// memory is slot i's memory.
func (s *slots) memory(i int) []byte { return unsafe.Slice(s.iovs[i].Base, maxDatagram) }

// received records that n bytes from the kernel were written to slot i by other means than
// receive. Bytes beyond the slot are lost.
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
