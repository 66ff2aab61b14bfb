package mmapring

import (
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// small is a ring of 16 frames, 4 to a block.
var small = Geometry{FrameSize: 2048, BlockSize: 8192, Blocks: 4}

// gapped has 3 frames per block, followed by a gap of 5,536 bytes.
var gapped = Geometry{FrameSize: 20000, BlockSize: 65536, Blocks: 2}

// isMapped reports whether the memory of m is still mapped.
func isMapped(m *Mapping) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.mem != nil
}

// socketCalls are the other system calls of a ring socket's owner.
type socketCalls interface {
	Syscalls
	Recv(fd int, p []byte) (int, error)
	Poll(fd int) (int16, error)
	SoError(fd int) (unix.Errno, error)
}

// owner is the owner of a socket with an RX ring, as the package requires it.
type owner struct {
	sys socketCalls
	fd  int
	m   *Mapping
	r   *Reader
	buf []byte
}

// receive receives one message. A Queued frame gets exactly one successful receive call.
func (o *owner) receive() ([]byte, Outcome, error) {
	for {
		payload, outcome := o.r.Read()
		if outcome != Queued {
			return payload, outcome, nil
		}
		n, err := o.sys.Recv(o.fd, o.buf)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			o.r.CountOverrun()
			continue
		case err != nil:
			return nil, outcome, fmt.Errorf("receive for a COPY frame: %w", err)
		}
		if o.r.Copied() {
			return o.buf[:n], Queued, nil
		}
	}
}

// newSocket creates an emulated socket, not mapped.
func newSocket(t testing.TB, cfg ringtest.Config) (*ringtest.Kernel, int, *ringtest.Socket) {
	t.Helper()
	k := ringtest.New(cfg)
	fd, err := k.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	if err != nil {
		t.Fatal(err)
	}
	sock := k.Lookup(fd)
	t.Cleanup(func() {
		if err := k.Close(fd); err != nil && err != unix.EBADF {
			t.Errorf("close: %v", err)
		}
		if n := k.Alive(); n != 0 {
			t.Errorf("%d sockets are mapped after the test", n)
		}
	})
	return k, fd, sock
}

// newRX creates a socket with an RX ring and its owner.
func newRX(t testing.TB, cfg ringtest.Config, g Geometry) (*owner, *ringtest.Socket) {
	t.Helper()
	k, fd, sock := newSocket(t, cfg)
	m, err := Map(fd, Config{RX: g, Syscalls: k})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Reader().Release(m.Reader().Lent())
		if err := m.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return &owner{sys: k, fd: fd, m: m, r: m.Reader(), buf: make([]byte, 1<<18)}, sock
}

// message is a message of n bytes with the number seq.
func message(n int, seq uint64) []byte {
	p := make([]byte, n)
	ringtest.Fill(p, seq)
	return p
}

// deliver delivers messages with the given sizes, numbered from first.
func deliver(t testing.TB, sock *ringtest.Socket, first uint64, sizes ...int) {
	t.Helper()
	for i, n := range sizes {
		if err := sock.Deliver(message(n, first+uint64(i))); err != nil {
			t.Fatalf("deliver message %d: %v", first+uint64(i), err)
		}
	}
}

// want receives one message and checks its number and outcome.
func (o *owner) want(t testing.TB, seq uint64, how Outcome) []byte {
	t.Helper()
	p, outcome, err := o.receive()
	if err != nil || outcome != how {
		t.Fatalf("message %d: outcome %d, error %v, want outcome %d", seq, outcome, err, how)
	}
	if got, err := ringtest.Check(p); err != nil || got != seq {
		t.Fatalf("got message %d, error %v, want %d", got, err, seq)
	}
	return p
}

// wantNone checks that there is nothing to read, and the outcome.
func (o *owner) wantNone(t testing.TB, why Outcome) {
	t.Helper()
	if p, outcome, err := o.receive(); outcome != why || p != nil || err != nil {
		t.Fatalf("outcome %d with %d bytes, error %v, want outcome %d", outcome, len(p), err, why)
	}
}

func (o *owner) poll(t testing.TB) int16 {
	t.Helper()
	mask, err := o.sys.Poll(o.fd)
	if err != nil {
		t.Fatal(err)
	}
	return mask
}

// statuses lists the statuses of the first n frames.
func statuses(sock *ringtest.Socket, n int) []Status {
	s := make([]Status, n)
	for i := range s {
		s[i] = Status(sock.RX(i).Status)
	}
	return s
}

var page = os.Getpagesize()
