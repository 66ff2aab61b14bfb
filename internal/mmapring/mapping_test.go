package mmapring

import (
	"errors"
	"os"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// recorder records the calls and passes them on.
type recorder struct {
	*ringtest.Kernel
	calls []string
	mmaps []int
}

func (r *recorder) Setsockopt(fd, level, opt int, value []byte) error {
	r.calls = append(r.calls, optName(opt))
	return r.Kernel.Setsockopt(fd, level, opt, value)
}

func (r *recorder) Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	r.calls = append(r.calls, "mmap")
	r.mmaps = append(r.mmaps, length)
	return r.Kernel.Mmap(fd, offset, length, prot, flags)
}

// Rules: RX and TX are set separately; one mmap covers both, RX first, with the exact size at
// offset 0 (the emulated kernel rejects everything else).
func TestMapBoth(t *testing.T) {
	for _, memfd := range []bool{false, true} {
		k, fd, sock := newSocket(t, ringtest.Config{Memfd: memfd})
		rec := &recorder{Kernel: k}
		m, err := Map(fd, Config{RX: gapped, TX: small, Syscalls: rec})
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(rec.calls, " "); got != "NETLINK_RX_RING NETLINK_TX_RING mmap" {
			t.Errorf("calls: %s", got)
		}
		if want := 2*65536 + 4*8192; len(rec.mmaps) != 1 || rec.mmaps[0] != want {
			t.Errorf("mmap of %v bytes, want one of %d", rec.mmaps, want)
		}
		var got []byte
		sock.Handle(func(msg []byte) unix.Errno { got = msg; return 0 })
		deliver(t, sock, 1, 700)
		o := &owner{sys: k, fd: fd, m: m, r: m.Reader(), buf: make([]byte, 1<<16)}
		o.want(t, 1, Message)
		send(t, m.Writer(), message(900, 2))
		if n, err := m.Writer().Kick(); n != 1 || err != nil {
			t.Errorf("Kick = %d, %v", n, err)
		}
		if seq, err := ringtest.Check(got); seq != 2 || err != nil {
			t.Errorf("the kernel got message %d, %v", seq, err)
		}
		o.r.Release(1)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	}
}

// Rule: a ring that is set but not mapped is freed by the all-zero request, so that the socket is
// an ordinary one after a failure.
func TestMapFailureLeavesNoRing(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  ringtest.Config
		want unix.Errno
	}{
		{"mmap", ringtest.Config{FailMmap: unix.ENOMEM}, unix.ENOMEM},
		{"tx ring", ringtest.Config{FailTXRing: unix.ENOMEM}, unix.ENOMEM},
		{"no rings", ringtest.Config{NoRings: true}, unix.ENOPROTOOPT},
		{"no capability", ringtest.Config{NoCap: true}, unix.EPERM},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k, fd, sock := newSocket(t, tc.cfg)
			_, err := Map(fd, Config{RX: small, TX: small, Syscalls: k})
			if !errors.Is(err, tc.want) {
				t.Fatalf("Map: %v, want %v", err, tc.want)
			}
			if errors.Is(err, ErrNotSupported) != tc.cfg.NoRings {
				t.Errorf("%v: matches ErrNotSupported: %v", err, !tc.cfg.NoRings)
			}
			if rx, tx := sock.HasRings(); rx || tx {
				t.Errorf("the socket has rings: RX %v, TX %v", rx, tx)
			}
		})
	}
}

func TestMapChecksFirst(t *testing.T) {
	for _, cfg := range []Config{{}, {RX: Geometry{10, 4096, 1}}, {TX: Geometry{2048, 5000, 1}}} {
		var ge *GeometryError
		if _, err := Map(-1, cfg); !errors.As(err, &ge) {
			t.Errorf("%+v: %v, want a GeometryError", cfg, err)
		}
	}
}

// Rule: EBUSY if the ring exists, or while it is mapped.
func TestMapTwice(t *testing.T) {
	o, _ := newRX(t, ringtest.Config{}, small)
	if _, err := Map(o.fd, Config{RX: small, Syscalls: o.sys}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("second Map: %v, want EBUSY", err)
	}
	deliver(t, o.sys.(*ringtest.Kernel).Lookup(o.fd), 4, 100)
	o.want(t, 4, Message) // the failure must not free the ring in use
}

// Rule: upcalls that arrive before mmap are kept.
func TestUpcallsBeforeMmap(t *testing.T) {
	k, fd, sock := newSocket(t, ringtest.Config{})
	sys := &beforeMmap{Kernel: k, do: func() { deliver(t, sock, 20, 64, 1000) }}
	m, err := Map(fd, Config{RX: small, Syscalls: sys})
	if err != nil {
		t.Fatal(err)
	}
	o := &owner{sys: k, fd: fd, m: m, r: m.Reader()}
	o.want(t, 20, Message)
	o.want(t, 21, Message)
	o.r.Release(2)
	if err := m.Close(); err != nil {
		t.Error(err)
	}
}

type beforeMmap struct {
	*ringtest.Kernel
	do func()
}

func (b *beforeMmap) Mmap(fd int, offset int64, length, prot, flags int) ([]byte, error) {
	b.do()
	return b.Kernel.Mmap(fd, offset, length, prot, flags)
}

// Rule: close() without munmap keeps the socket alive. Close unmaps once, and all later calls
// return ErrClosed.
func TestClose(t *testing.T) {
	k, fd, sock := newSocket(t, ringtest.Config{Memfd: true})
	m, err := Map(fd, Config{RX: small, TX: small, Syscalls: k})
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, sock, 0, 100, 100)
	for range 3 {
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if sock.Mapped() != 0 || isMapped(m) {
		t.Error("still mapped")
	}
	if _, outcome := m.Reader().Read(); outcome != Closed || m.Reader().Ready() || m.Reader().Copied() {
		t.Error("the reader still works after Close")
	}
	_, err = m.Writer().Reserve()
	_, kick := m.Writer().Kick()
	if !errors.Is(err, os.ErrClosed) || !errors.Is(kick, ErrClosed) {
		t.Errorf("writer after Close: %v, %v", err, kick)
	}
}

// Lent frames stay readable after Close; the last Release unmaps.
func TestCloseWithFramesLent(t *testing.T) {
	k, fd, sock := newSocket(t, ringtest.Config{Memfd: true})
	m, err := Map(fd, Config{RX: small, Syscalls: k})
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, sock, 7, 300, 1999)
	a, _ := m.Reader().Read()
	b, _ := m.Reader().Read()
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for i, p := range [][]byte{a, b} {
		if !isMapped(m) {
			t.Fatalf("unmapped with %d frames lent", 2-i)
		}
		if seq, err := ringtest.Check(p); err != nil || seq != uint64(7+i) {
			t.Errorf("message %d, %v", seq, err)
		}
		m.Reader().Release(1)
	}
	if isMapped(m) || sock.Mapped() != 0 {
		t.Error("mapped after the last Release")
	}
}

func TestCloseWithFrameReserved(t *testing.T) {
	for name, end := range map[string]func(*Writer) error{
		"commit":  func(w *Writer) error { return w.Commit(10) },
		"give up": func(w *Writer) error { return w.Commit(0) },
	} {
		k, fd, sock := newSocket(t, ringtest.Config{Memfd: true})
		m, err := Map(fd, Config{TX: small, Syscalls: k})
		if err != nil {
			t.Fatal(err)
		}
		room, err := m.Writer().Reserve()
		if err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
		room[len(room)-1] = 1 // must not fault
		if err := end(m.Writer()); !errors.Is(err, ErrClosed) || isMapped(m) || sock.Mapped() != 0 {
			t.Errorf("%s: %v, mapped %v", name, err, isMapped(m))
		}
	}
}

// Close waits for a reader inside a call. A munmap during the call would crash the test.
func TestCloseUnderReader(t *testing.T) {
	for range 50 {
		k, fd, sock := newSocket(t, ringtest.Config{Memfd: true})
		m, err := Map(fd, Config{RX: small, Syscalls: k})
		if err != nil {
			t.Fatal(err)
		}
		started := make(chan struct{})
		var reader sync.WaitGroup
		reader.Go(func() {
			for i := 0; ; i++ {
				m.Reader().Ready()
				p, outcome := m.Reader().Read()
				if outcome == Message {
					if _, err := ringtest.Check(p); err != nil {
						t.Error(err)
					}
				}
				m.Reader().Release(1)
				if i == 3 {
					close(started)
				}
				if outcome == Closed {
					return
				}
			}
		})
		<-started
		deliver(t, sock, 0, 1000, 1000, 1000)
		if err := m.Close(); err != nil {
			t.Error(err)
		}
		reader.Wait()
		if sock.Mapped() != 0 {
			t.Fatal("still mapped")
		}
	}
}

// Rule: support of rings is probed by trying, once per direction.
func TestProbe(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  ringtest.Config
		want error
	}{
		{"rings", ringtest.Config{}, nil},
		{"no rings", ringtest.Config{NoRings: true}, ErrNotSupported},
		{"no rings, errno", ringtest.Config{NoRings: true}, unix.ENOPROTOOPT},
		{"no capability", ringtest.Config{NoCap: true}, unix.EPERM},
		{"options without mmap", ringtest.Config{FailMmap: unix.ENODEV}, ErrNotSupported},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := ringtest.New(tc.cfg)
			p := &Prober{Syscalls: k}
			for range 3 {
				for _, d := range []Direction{RX, TX} {
					if err := p.Probe(d); !errors.Is(err, tc.want) {
						t.Errorf("%v: %v, want %v", d, err, tc.want)
					}
				}
			}
			if k.Opened() != 2 || k.Alive() != 0 {
				t.Errorf("%d sockets opened, %d alive, want 2 and 0", k.Opened(), k.Alive())
			}
		})
	}
}

// A failure unrelated to rings is not remembered.
func TestProbeTriesAgain(t *testing.T) {
	p := &Prober{Syscalls: ringtest.New(ringtest.Config{FailMmap: unix.ENOMEM})}
	if err := p.Probe(RX); !errors.Is(err, unix.ENOMEM) || errors.Is(err, ErrNotSupported) {
		t.Fatal(err)
	}
	p.Syscalls = ringtest.New(ringtest.Config{})
	if err := p.Probe(RX); err != nil {
		t.Errorf("second try: %v", err)
	}
}

// The running kernel gives one of the results that select a transport.
func TestProbeRunningKernel(t *testing.T) {
	for _, d := range []Direction{RX, TX} {
		err := Probe(d)
		t.Logf("%v: %v", d, err)
		if err != nil && !errors.Is(err, ErrNotSupported) && !errors.Is(err, unix.EPERM) {
			t.Errorf("%v: %v", d, err)
		}
	}
}
