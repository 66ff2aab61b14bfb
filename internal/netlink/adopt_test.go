package netlink

import (
	"bytes"
	"errors"
	"os"
	"testing"

	"dpifd/internal/mmapring"

	"golang.org/x/sys/unix"
)

// newBound opens an unconnected socket, as another program might have it.
func newBound(t *testing.T, protocol int, groups uint32) int {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, protocol)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func TestDetachAndAdopt(t *testing.T) {
	checkFDs(t)
	tx, b := newSender(t), newBatch(t, 4)
	// Accepts messages from others, so that something can be queued.
	from := openAnySender(t, socketConfig{})
	msg := message(20, 0, 1, 0, 9, 8, 7, 6)
	tx.send(from.PortID(), msg)
	fd, _, err := from.Detach()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := from.Receive(b, 1); !errors.Is(err, ErrClosed) {
		t.Errorf("Receive after Detach: %v, want ErrClosed", err)
	}
	if _, _, err := from.Detach(); !errors.Is(err, ErrClosed) {
		t.Errorf("second Detach: %v, want ErrClosed", err)
	}
	to, err := AdoptReceiver(unix.NETLINK_USERSOCK, fd, mmapring.State{}, ReceiverConfig{RcvBuf: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if to.PortID() != from.PortID() || to.FD() != fd || to.Transport() != Linear || to.RcvBuf() < 1<<16 {
		t.Errorf("adopted: port id %d, descriptor %d, %v, buffer %d", to.PortID(), to.FD(), to.Transport(), to.RcvBuf())
	}
	if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err != nil || flags&unix.FD_CLOEXEC == 0 {
		t.Errorf("descriptor flags %#x, %v: children would inherit it", flags, err)
	}
	// The message is still queued, and is foreign now.
	if n, err := to.Receive(b, 4); n != 0 || err != nil || to.Counters().Foreign != 1 {
		t.Errorf("received %d, %v, counters %+v; want one foreign message", n, err, to.Counters())
	}
	owner := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: to.PortID()}
	if err := unix.Sendto(tx.fd, msg, 0, owner); err != unix.ECONNREFUSED {
		t.Errorf("send to the adopted socket: %v, want ECONNREFUSED", err)
	}
}

// TestAdoptForgetsLosses: earlier losses are not reported again.
func TestAdoptForgetsLosses(t *testing.T) {
	tx, b := newSender(t), newBatch(t, 4)
	const group = 7
	from := openAnySender(t, socketConfig{rcvbuf: 4096}, group)
	for range 100 {
		tx.multicast(group, message(20, 0, 1, 0, bytes.Repeat([]byte{1}, 1000)...))
	}
	if m, err := from.MemInfo(); err == nil && m.Drops == 0 {
		t.Fatal("the socket did not overflow")
	}
	if err := from.sock.membership(unix.NETLINK_DROP_MEMBERSHIP, group); err != nil {
		t.Fatal(err)
	}
	fd, _, err := from.Detach()
	if err != nil {
		t.Fatal(err)
	}
	to, err := AdoptReceiver(unix.NETLINK_USERSOCK, fd, mmapring.State{}, ReceiverConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if err := to.SocketError(); err != nil {
		t.Errorf("pending error %v", err)
	}
	if m, err := to.MemInfo(); err == nil && (m.Drops != 0 || m.QueuedBytes == 0) {
		t.Errorf("%+v: want no drops and a queue", m)
	}
	if _, err := to.Receive(b, 1); err != nil {
		t.Errorf("receive: %v", err)
	}
}

func TestAdoptRefuses(t *testing.T) {
	checkFDs(t)
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unbound, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(unbound)
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(pair[0])
	defer unix.Close(pair[1])
	for _, tt := range []struct {
		name string
		fd   int
		want unix.Errno
	}{
		{"closed", 1 << 20, unix.EBADF},
		{"negative", -1, unix.EBADF},
		{"file", int(file.Fd()), unix.ENOTSOCK},
		{"unix socket", pair[0], unix.EINVAL},
		{"other protocol", newBound(t, unix.NETLINK_ROUTE, 0), unix.EINVAL},
		{"notifier", newBound(t, unix.NETLINK_GENERIC, 1), unix.EINVAL},
		{"unbound", unbound, unix.EINVAL},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := AdoptReceiver(unix.NETLINK_GENERIC, tt.fd, mmapring.State{}, ReceiverConfig{})
			if !errors.Is(err, tt.want) {
				t.Errorf("error %v, want %v", err, tt.want)
			}
		})
	}
	// A rejected descriptor still belongs to the caller.
	if _, err := unix.Getsockname(unbound); err != nil {
		t.Errorf("the rejected descriptor was closed: %v", err)
	}
}
