package mmapring

import (
	"math"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Config says which rings Map sets up.
type Config struct {
	RX, TX   Geometry // zero: no such ring; at least one must be set
	Syscalls Syscalls // nil: the running kernel's
}

// Mapping is the shared memory of one socket's rings.
type Mapping struct {
	fd  int
	sys Syscalls

	// mu keeps the memory mapped while a Reader or Writer is inside a call.
	mu     sync.Mutex
	mem    []byte // nil once unmapped
	closed bool
	reader *Reader
	writer *Writer
}

// Map sets up the rings of cfg on the netlink socket fd and maps them. Setting up an RX ring
// drops the socket's queue, so call Map before the kernel sends to the socket. After a failure
// the socket has no rings. The caller keeps fd, and closes it only after Mapping.Close.
func Map(fd int, cfg Config) (*Mapping, error) {
	sys := cfg.Syscalls
	if sys == nil {
		sys = Kernel{}
	}
	page := os.Getpagesize()
	for _, g := range []Geometry{cfg.RX, cfg.TX} {
		if err := g.Validate(page); err != nil {
			return nil, err
		}
	}
	rx, tx := cfg.RX.Bytes(), cfg.TX.Bytes()
	if rx+tx == 0 {
		return nil, &GeometryError{"blocks", 0, "neither an RX nor a TX ring is asked for"}
	}
	if rx+tx > math.MaxInt {
		return nil, &GeometryError{"blocks", cfg.RX.Blocks, "rings exceed the address space"}
	}

	if err := setRing(sys, fd, optRXRing, cfg.RX); err != nil {
		return nil, err
	}
	if err := setRing(sys, fd, optTXRing, cfg.TX); err != nil {
		freeRings(sys, fd, cfg.RX, Geometry{})
		return nil, err
	}
	// The kernel accepts only one call for both rings, RX first, of exactly their size, at
	// offset 0.
	mem, err := sys.Mmap(fd, 0, int(rx+tx), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		freeRings(sys, fd, cfg.RX, cfg.TX)
		return nil, &OpError{Op: "mmap", Err: err}
	}

	m := &Mapping{fd: fd, sys: sys, mem: mem}
	if !cfg.RX.IsZero() {
		m.reader = newReader(m, newRing(cfg.RX, mem[:rx:rx]))
	}
	if !cfg.TX.IsZero() {
		m.writer = newWriter(m, newRing(cfg.TX, mem[rx:rx+tx:rx+tx]))
	}
	return m, nil
}

// setRing does nothing for the zero Geometry: that request would free a ring.
func setRing(sys Syscalls, fd, opt int, g Geometry) error {
	if g.IsZero() {
		return nil
	}
	req := g.request()
	if err := sys.Setsockopt(fd, unix.SOL_NETLINK, opt, req[:]); err != nil {
		return &OpError{Op: "setsockopt " + optName(opt) + " (" + g.String() + ")", Err: err}
	}
	return nil
}

// freeRings frees rings that are set but not mapped. It ignores errors, because the caller
// reports the first one.
func freeRings(sys Syscalls, fd int, rx, tx Geometry) {
	none := Geometry{}.request()
	if !rx.IsZero() {
		_ = sys.Setsockopt(fd, unix.SOL_NETLINK, optRXRing, none[:])
	}
	if !tx.IsZero() {
		_ = sys.Setsockopt(fd, unix.SOL_NETLINK, optTXRing, none[:])
	}
}

func optName(opt int) string {
	if opt == optRXRing {
		return "NETLINK_RX_RING"
	}
	return "NETLINK_TX_RING"
}

// Reader is the reader of the RX ring, nil if there is none. It is the same one
// at each call.
func (m *Mapping) Reader() *Reader { return m.reader }

// Writer is the writer of the TX ring, nil if there is none. It is the same one
// at each call.
func (m *Mapping) Writer() *Writer { return m.writer }

// Close ends the use of the rings and unmaps them. It waits for a Reader or Writer inside a
// call, and may be called again. Lent frames stay readable, and the call that returns the last
// of them unmaps the memory. Until then closing the socket does not end it in the kernel.
func (m *Mapping) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return m.unmapIdle()
}

// unmapIdle unmaps a closed mapping without lent frames. m.mu is held.
func (m *Mapping) unmapIdle() error {
	if m.mem == nil || m.reader != nil && m.reader.lent > 0 || m.writer != nil && m.writer.reserved {
		return nil
	}
	mem := m.mem
	m.mem = nil
	if m.reader != nil {
		m.reader.ring.mem = nil
	}
	if m.writer != nil {
		m.writer.ring.mem = nil
	}
	if err := m.sys.Munmap(mem); err != nil {
		return &OpError{Op: "munmap", Err: err}
	}
	return nil
}
