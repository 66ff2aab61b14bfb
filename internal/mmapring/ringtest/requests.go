package ringtest

import (
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// Requests is a Kernel for request sockets. Its descriptors are real netlink sockets, connected to
// the running kernel. Rings are emulated; each sent message, from a ring or not, is recorded and
// forwarded to the running kernel, whose answers arrive at the same descriptor.
type Requests struct {
	*Kernel
	// Refuse, if set, is called for each message from a ring and may reject it with an errno. It
	// must not call the Kernel.
	Refuse func(msg []byte) unix.Errno

	mu    sync.Mutex
	fds   map[int]int // emulated socket by real descriptor
	sent  []Sent
	calls []string
}

// Sent is a message from a ring, or a datagram of several messages.
type Sent struct {
	Ring bool
	Data []byte
}

// NewRequests returns a kernel without sockets.
func NewRequests(cfg Config) *Requests {
	return &Requests{Kernel: New(cfg), fds: map[int]int{}}
}

// Sent returns what was sent since the last call, in the order in which the kernel received it.
func (r *Requests) Sent() []Sent {
	r.mu.Lock()
	defer r.mu.Unlock()
	sent := r.sent
	r.sent = nil
	return sent
}

// Calls returns the calls that open and close sockets and rings: "socket", "setsockopt", "mmap",
// "munmap", "close".
func (r *Requests) Calls() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.calls...)
}

func (r *Requests) note(call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls = append(r.calls, call)
}

func (r *Requests) emulated(fd int) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e, ok := r.fds[fd]; ok {
		return e
	}
	return -1
}

// Socket creates and connects a socket.
func (r *Requests) Socket(domain, typ, proto int) (int, error) {
	r.note("socket")
	e, err := r.Kernel.Socket(domain, typ, proto)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(domain, typ, proto)
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
	}
	if err != nil {
		return -1, fmt.Errorf("the running kernel's socket: %w", err)
	}
	r.mu.Lock()
	r.fds[fd] = e
	r.mu.Unlock()
	r.Lookup(fd).Handle(func(msg []byte) unix.Errno {
		if r.Refuse != nil {
			if errno := r.Refuse(msg); errno != 0 {
				return errno
			}
		}
		return r.take(fd, Sent{Ring: true, Data: msg})
	})
	return fd, nil
}

// take records and forwards what was sent.
func (r *Requests) take(fd int, s Sent) unix.Errno {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent = append(r.sent, s)
	if _, err := unix.Write(fd, s.Data); err != nil {
		return unix.EIO
	}
	return 0
}

// Lookup returns the emulated socket of a descriptor.
func (r *Requests) Lookup(fd int) *Socket { return r.Kernel.Lookup(r.emulated(fd)) }

// Close closes the real and the emulated socket.
func (r *Requests) Close(fd int) error {
	r.note("close")
	e := r.emulated(fd)
	r.mu.Lock()
	delete(r.fds, fd)
	r.mu.Unlock()
	if err := r.Kernel.Close(e); err != nil {
		return err
	}
	return unix.Close(fd)
}

// Setsockopt sets the emulated socket's rings.
func (r *Requests) Setsockopt(fd, level, opt int, value []byte) error {
	r.note("setsockopt")
	return r.Kernel.Setsockopt(r.emulated(fd), level, opt, value)
}

// Mmap maps the emulated socket's rings.
func (r *Requests) Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	r.note("mmap")
	return r.Kernel.Mmap(r.emulated(fd), offset, length, prot, flags)
}

// Munmap reverses Mmap.
func (r *Requests) Munmap(b []byte) error {
	r.note("munmap")
	return r.Kernel.Munmap(b)
}

// Sendmsg sends from the emulated socket's ring, or the data in msg.
func (r *Requests) Sendmsg(fd int, msg *unix.Msghdr, flags int) (int, error) {
	n, err := r.Kernel.Sendmsg(r.emulated(fd), msg, flags)
	if err != nil {
		return n, err
	}
	for _, data := range r.Lookup(fd).Linear() {
		if errno := r.take(fd, Sent{Data: data}); errno != 0 {
			return 0, errno
		}
	}
	return n, nil
}
