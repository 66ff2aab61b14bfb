package ringtest

import (
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Version is the kernel whose poll is emulated.
type Version int

// Versions.
const (
	V44 Version = iota // 4.4: POLLIN if any frame is VALID, or the queue is not empty
	V41                // 4.1: POLLIN if the frame before the kernel's head is not UNUSED
)

// TXMode is how the kernel reads messages from a TX ring.
type TXMode int

// Modes.
const (
	TXCopy    TXMode = iota // 4.2 to 4.5: copied from the frame, which is free at once
	TXBroken                // 4.1: the call returns 0 without effect
	TXInPlace               // 3.16: the frame is RESERVED until FinishTX
)

// Config describes an emulated kernel.
type Config struct {
	Version Version
	TX      TXMode
	NoRings bool // the kernel was built without rings
	NoCap   bool // the caller lacks CAP_NET_ADMIN
	// Overhead is the difference between the kernel's size estimate of a message and its size, in
	// bytes. The estimate decides between VALID and COPY.
	Overhead int
	// RcvBuf limits the queue of each socket, in bytes. 0: 212,992.
	RcvBuf int
	// Memfd backs the rings by a memfd, mapped once for each side. Otherwise both sides share Go
	// memory, which the race detector watches.
	Memfd bool
	// FailMmap, if not 0, is the error of mmap.
	FailMmap unix.Errno
	// FailTXRing, if not 0, is the error of setting a TX ring.
	FailTXRing unix.Errno
}

// Kernel is an emulated kernel with any number of sockets. Its methods are the system calls;
// several goroutines may use them.
type Kernel struct {
	cfg Config

	mu      sync.Mutex
	sockets map[int]*Socket
	areas   map[*byte]*Socket // by first byte of the memory from Mmap
	opened  int
}

// New returns a Kernel.
func New(cfg Config) *Kernel {
	if cfg.RcvBuf == 0 {
		cfg.RcvBuf = 212992
	}
	return &Kernel{cfg: cfg, sockets: map[int]*Socket{}, areas: map[*byte]*Socket{}}
}

// Socket creates a socket.
func (k *Kernel) Socket(domain, typ, proto int) (int, error) {
	if domain != unix.AF_NETLINK || typ&^unix.SOCK_CLOEXEC&^unix.SOCK_NONBLOCK != unix.SOCK_RAW {
		return -1, unix.EAFNOSUPPORT
	}
	wake, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return -1, err
	}
	var file *os.File
	if k.cfg.Memfd {
		fd, err := unix.MemfdCreate("ring", unix.MFD_CLOEXEC)
		if err != nil {
			_ = unix.Close(wake)
			return -1, err
		}
		file = os.NewFile(uintptr(fd), "ring")
	}
	return wake, k.add(newSocket(k, wake, file))
}

func (k *Kernel) add(s *Socket) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.sockets[s.wake] = s
	k.opened++
	return nil
}

// Lookup returns the socket of a descriptor, also after Close while it is mapped.
func (k *Kernel) Lookup(fd int) *Socket {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.sockets[fd]
}

// Alive returns the number of sockets that the kernel keeps: open, or still mapped.
func (k *Kernel) Alive() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.sockets)
}

// Opened returns the number of sockets created so far.
func (k *Kernel) Opened() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.opened
}

func (k *Kernel) get(fd int) (*Socket, error) {
	if s := k.Lookup(fd); s != nil && !s.isClosed() {
		return s, nil
	}
	return nil, unix.EBADF
}

// Close closes a descriptor. A mapped socket stays alive.
func (k *Kernel) Close(fd int) error {
	s, err := k.get(fd)
	if err != nil {
		return err
	}
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.stopped.Store(true)
	return k.reap(s)
}

// reap destroys a socket that is closed and not mapped.
func (k *Kernel) reap(s *Socket) error {
	s.mu.Lock()
	dead := s.closed && s.mapped == 0
	s.mu.Unlock()
	if !dead {
		return nil
	}
	k.mu.Lock()
	delete(k.sockets, s.wake)
	k.mu.Unlock()
	return s.destroy()
}

// Mmap maps a socket's rings.
func (k *Kernel) Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	s, err := k.get(fd)
	if err != nil {
		return nil, err
	}
	b, err := s.mmap(offset, length, prot, flags)
	if err != nil {
		return nil, err
	}
	k.mu.Lock()
	k.areas[&b[0]] = s
	k.mu.Unlock()
	return b, nil
}

// Munmap undoes Mmap.
func (k *Kernel) Munmap(b []byte) error {
	k.mu.Lock()
	s := k.areas[&b[0]]
	delete(k.areas, &b[0])
	k.mu.Unlock()
	if s == nil {
		return unix.EINVAL
	}
	if err := s.munmap(b); err != nil {
		return err
	}
	return k.reap(s)
}

// Setsockopt sets NETLINK_RX_RING and NETLINK_TX_RING.
func (k *Kernel) Setsockopt(fd, level, opt int, value []byte) error {
	s, err := k.get(fd)
	if err != nil {
		return err
	}
	return s.setsockopt(level, opt, value)
}

// Sendmsg sends; a single iovec with a NULL base sends from the TX ring.
func (k *Kernel) Sendmsg(fd int, msg *unix.Msghdr, flags int) (int, error) {
	s, err := k.get(fd)
	if err != nil {
		return 0, err
	}
	return s.sendmsg(gather(msg))
}

// Recv receives the oldest queued message into p. n is its whole length; if it exceeds len(p), the
// rest is lost. It does not block but returns EAGAIN.
func (k *Kernel) Recv(fd int, p []byte) (n int, err error) {
	s, err := k.get(fd)
	if err != nil {
		return 0, err
	}
	return s.recv(p)
}

// Poll returns what poll(2) would for the socket: POLLIN, POLLOUT, POLLERR.
func (k *Kernel) Poll(fd int) (int16, error) {
	s, err := k.get(fd)
	if err != nil {
		return 0, err
	}
	return s.poll(), nil
}

// SoError is getsockopt(SO_ERROR): it returns and clears the pending error.
func (k *Kernel) SoError(fd int) (unix.Errno, error) {
	s, err := k.get(fd)
	if err != nil {
		return 0, err
	}
	return s.soError(), nil
}
