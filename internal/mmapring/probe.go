package mmapring

import (
	"errors"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Direction is RX, messages from the kernel, or TX, messages to the kernel.
type Direction uint8

// Directions of a ring.
const (
	RX Direction = iota
	TX
)

func (d Direction) String() string {
	if d == RX {
		return "RX"
	}
	return "TX"
}

// Prober finds out whether the kernel has rings by setting one up. The kernel version does not
// tell, because the removal of rings was backported. The result for each direction is kept;
// after a failure unrelated to rings (no file descriptors, no memory) the next call tries
// again. The zero Prober uses the running kernel. It may be used from several goroutines.
type Prober struct {
	Syscalls Syscalls // nil: the running kernel's

	mu     sync.Mutex
	known  [2]bool
	result [2]error
}

var defaultProber Prober

// Probe tests the running kernel, once per process and direction. nil means that rings can be
// set up. Errors match ErrNotSupported and the errno, or unix.EPERM if CAP_NET_ADMIN in the
// initial user namespace is missing. nil for TX does not mean that the TX ring sends: see
// ErrBroken.
func Probe(d Direction) error { return defaultProber.Probe(d) }

// Probe is the package's Probe with p's system calls and memory.
func (p *Prober) Probe(d Direction) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.known[d] {
		return p.result[d]
	}
	err := p.try(d)
	p.result[d] = err
	p.known[d] = err == nil || errors.Is(err, ErrNotSupported) || errors.Is(err, unix.EPERM)
	return err
}

// try sets up and maps the smallest ring: one frame of one page.
func (p *Prober) try(d Direction) error {
	sys := p.Syscalls
	if sys == nil {
		sys = Kernel{}
	}
	fd, err := sys.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		return &OpError{Op: "socket", Err: err}
	}
	page := uint32(os.Getpagesize())
	g := Geometry{FrameSize: page, BlockSize: page, Blocks: 1}
	cfg := Config{RX: g, Syscalls: sys}
	if d == TX {
		cfg = Config{TX: g, Syscalls: sys}
	}
	m, err := Map(fd, cfg)
	if err == nil {
		err = m.Close()
	}
	if cerr := sys.Close(fd); err == nil && cerr != nil {
		err = &OpError{Op: "close", Err: cerr}
	}
	return err
}
