package netlink

import (
	"encoding/binary"
	"os"
	"strings"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// message encodes a message without the package's encoder.
func message(typ, flags uint16, seq, pid uint32, payload ...byte) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(headerLen+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, pid)
	b = append(b, payload...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// attr encodes an attribute without the package's encoder.
func attr(typ uint16, payload ...byte) []byte {
	b := binary.NativeEndian.AppendUint16(nil, uint16(4+len(payload)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, payload...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// pattern returns n bytes that depend on seed.
func pattern(seed, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(seed*31 + i*7 + i>>8)
	}
	return b
}

func assertAllocs(t *testing.T, what string, fn func()) {
	t.Helper()
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	fn() // buffers grow
	if n := testing.AllocsPerRun(200, fn); n != 0 {
		t.Errorf("%s allocates %v times", what, n)
	}
}

// checkFDs fails the test if it leaves more sockets open than before. Other descriptors are not
// counted, since the Go runtime may open some at any time.
func checkFDs(t *testing.T) {
	t.Helper()
	before := openSockets(t)
	t.Cleanup(func() {
		if after := openSockets(t); after != before {
			t.Errorf("%d sockets open, %d before the test", after, before)
		}
	})
}

func openSockets(t *testing.T) (n int) {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, fd := range fds {
		if target, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && strings.HasPrefix(target, "socket:") {
			n++
		}
	}
	return n
}

// sender is another program's NETLINK_USERSOCK socket.
type sender struct {
	t  testing.TB
	fd int
}

func newSender(t testing.TB) *sender {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_USERSOCK)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	return &sender{t: t, fd: fd}
}

func (s *sender) send(to uint32, b []byte) {
	s.t.Helper()
	if err := unix.Sendto(s.fd, b, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: to}); err != nil {
		s.t.Fatalf("send %d bytes to port %d: %v", len(b), to, err)
	}
}

// multicast sends to group n of NETLINK_USERSOCK.
func (s *sender) multicast(n uint32, b []byte) {
	s.t.Helper()
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (n - 1)}
	// After the group it is sent to port 0, which has no listener for this protocol.
	if err := unix.Sendto(s.fd, b, 0, to); err != unix.ECONNREFUSED {
		s.t.Fatalf("multicast to group %d: %v", n, err)
	}
}

// openAnySender opens a receiver that other programs can send to, the only way to feed one on a
// machine without the datapath.
func openAnySender(t testing.TB, c socketConfig, groups ...uint32) *Receiver {
	t.Helper()
	c.anySender = true
	r, err := openReceiver(unix.NETLINK_USERSOCK, groups, c)
	if err != nil {
		if len(groups) > 0 && os.Geteuid() != 0 {
			t.Skipf("multicast groups of NETLINK_USERSOCK need privilege: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r
}

func newBatch(t testing.TB, n int) *Batch {
	t.Helper()
	b, err := NewBatch(n)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { b.Close() })
	return b
}

func dial(t testing.TB, protocol int, c Config) *Conn {
	t.Helper()
	conn, err := Dial(protocol, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}
