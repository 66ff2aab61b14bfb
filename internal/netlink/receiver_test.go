package netlink

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"
	"testing"

	vishvananda "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestReceiverRefusesOthers: a receiver is connected to the kernel, so messages of other sockets are
// refused. An unconnected receiver gets the same message.
func TestReceiverRefusesOthers(t *testing.T) {
	checkFDs(t)
	tx, b := newSender(t), newBatch(t, 4)
	oracle := openAnySender(t, socketConfig{})
	r, err := OpenReceiver(unix.NETLINK_USERSOCK, ReceiverConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	conn := dial(t, unix.NETLINK_USERSOCK, Config{})

	msg := message(20, 0, 1, 0, 1, 2, 3, 4)
	tx.send(oracle.PortID(), msg)
	if n, err := oracle.Receive(b, 4); n != 1 || err != nil || !bytes.Equal(b.Data(0), msg) {
		t.Fatalf("oracle received %d, %v", n, err)
	}
	b.Release()
	for name, port := range map[string]uint32{"Receiver": r.PortID(), "Conn": conn.PortID()} {
		err := unix.Sendto(tx.fd, msg, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: port})
		if err != unix.ECONNREFUSED {
			t.Errorf("send to a %s: %v, want ECONNREFUSED", name, err)
		}
	}
	if n, err := r.Receive(b, 4); n != 0 || err != nil || b.Len() != 0 {
		t.Errorf("received %d, %v", n, err)
	}
	if c := r.Counters(); c != (Counters{}) {
		t.Errorf("counters %+v", c)
	}
}

// TestReceiverDropsForeignMessages: foreign messages that are queued nevertheless (by multicast, or
// before connect) are recognised by their sender.
func TestReceiverDropsForeignMessages(t *testing.T) {
	tx, b := newSender(t), newBatch(t, 4)
	const group = 3
	oracle := openAnySender(t, socketConfig{}, group)
	r, err := OpenNotifier(unix.NETLINK_USERSOCK, []uint32{group}, ReceiverConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	tx.multicast(group, message(20, 0, 1, 0, 1, 2, 3, 4))
	if n, err := oracle.Receive(b, 1); n != 1 || err != nil {
		t.Fatalf("oracle received %d, %v", n, err)
	}
	if n, err := r.Receive(b, 1); n != 0 || err != nil || r.Counters().Foreign != 1 || b.Len() != 1 {
		t.Errorf("received %d, %v, counters %+v", n, err, r.Counters())
	}
}

func TestReceiverMembership(t *testing.T) {
	tx, b := newSender(t), newBatch(t, 8)
	r := openAnySender(t, socketConfig{}, 5)
	for i, want := range []int{0, 1} {
		tx.multicast(6, message(20, 0, uint32(i), 0))
		if n, err := r.Receive(b, 8); n != want || err != nil {
			t.Errorf("step %d: received %d, %v; want %d", i, n, err, want)
		}
		if err := r.Join(6); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Join(1 << 20); !errors.Is(err, unix.EINVAL) {
		t.Errorf("join of a group out of range: %v, want EINVAL", err)
	}
}

// TestNotifierReceivesFromKernel: the kernel's own multicasts pass the check of the sender.
func TestNotifierReceivesFromKernel(t *testing.T) {
	// The thread stays locked, so it ends with the test, and its namespace too.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("a network namespace needs privilege: %v", err)
	}
	b := newBatch(t, 8)
	r, err := OpenNotifier(unix.NETLINK_ROUTE, []uint32{unix.RTNLGRP_LINK}, ReceiverConfig{RcvBuf: 1 << 20})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	lo, err := vishvananda.LinkByName("lo")
	if err == nil {
		err = vishvananda.LinkSetUp(lo)
	}
	if err != nil {
		t.Fatal(err)
	}
	n, err := r.Receive(b, 8)
	if n == 0 || err != nil {
		t.Fatalf("received %d, %v, counters %+v", n, err, r.Counters())
	}
	if h, _, _, err := SplitMessage(b.Data(0)); err != nil || h.Type != unix.RTM_NEWLINK {
		t.Errorf("header %+v, %v", h, err)
	}
}

// TestReceiveSkipsAndKeepsOrder: dropped datagrams neither leave gaps nor occupy room in the batch.
func TestReceiveSkipsAndKeepsOrder(t *testing.T) {
	tx, b := newSender(t), newBatch(t, 4)
	r := openAnySender(t, socketConfig{rcvbuf: 1 << 20})
	whole := message(20, 0, 1, 0, pattern(1, 64<<10)...)
	queue := [][]byte{
		whole,
		message(21, 0, 2, 0, pattern(2, maxDatagram)...), // truncated
		message(22, 0, 3, 0, pattern(3, 200)...),
		pattern(4, 40),                                    // malformed: the header announces more bytes
		append(message(23, 0, 5, 0, 1, 2, 3, 4), 1, 2, 3), // malformed after a complete message
		message(24, 0, 6, 0, pattern(6, maxDatagram-headerLen)...),
		append(message(25, 0, 7, 0, 1), message(26, 0, 8, 0)...),
		message(27, 0, 9, 0),
	}
	for _, m := range queue {
		tx.send(r.PortID(), m)
	}
	want := [][]byte{queue[0], queue[2], queue[5], queue[6]}
	total := 0
	for calls := 0; b.Free() > 0; calls++ {
		free := b.Free()
		n, err := r.Receive(b, 100)
		if err != nil || calls > 3 {
			t.Fatalf("call %d: %d, %v", calls, n, err)
		}
		if total += n; b.Len() != total || b.Free() != free-n {
			t.Fatalf("%d received in all, batch has %d with room for %d", total, b.Len(), b.Free())
		}
	}
	for i := range want {
		if !bytes.Equal(b.Data(i), want[i]) {
			t.Errorf("datagram %d has %d bytes, want %d, or other bytes", i, len(b.Data(i)), len(want[i]))
		}
	}
	if n, err := r.Receive(b, 1); n != 0 || err != nil {
		t.Errorf("full batch: received %d, %v", n, err)
	}
	b.Release()
	if n, err := r.Receive(b, 100); n != 1 || err != nil || !bytes.Equal(b.Data(0), queue[7]) {
		t.Errorf("after Release: received %d, %v", n, err)
	}
	size := uint64(0)
	for _, m := range append(want, queue[7]) {
		size += uint64(len(m))
	}
	if c, want := r.Counters(), (Counters{ReceivedLinear: 5, Bytes: size, Truncated: 1, Malformed: 2}); c != want {
		t.Errorf("counters %+v, want %+v", c, want)
	}
}

func TestReceiveIntoOneBatchFromSeveral(t *testing.T) {
	tx, b := newSender(t), newBatch(t, 8)
	rs := []*Receiver{openAnySender(t, socketConfig{}), openAnySender(t, socketConfig{})}
	for i := range 6 {
		tx.send(rs[i%2].PortID(), message(20, 0, uint32(i), 0))
	}
	for _, r := range rs {
		if n, err := r.Receive(b, 2); n != 2 || err != nil {
			t.Fatalf("received %d, %v; want the limit of 2", n, err)
		}
	}
	for i, want := range []uint32{0, 2, 1, 3} {
		if h, _, _, _ := SplitMessage(b.Data(i)); h.Seq != want {
			t.Errorf("datagram %d is message %d, want %d", i, h.Seq, want)
		}
	}
}

// overflow multicasts until the receiver's queue overflows.
func overflow(t *testing.T) *Receiver {
	t.Helper()
	const group = 7
	tx, r := newSender(t), openAnySender(t, socketConfig{rcvbuf: 8 << 10}, group)
	for i := range 100 {
		tx.multicast(group, message(20, 0, uint32(i), 0, pattern(i, 1000)...))
	}
	return r
}

func TestReceiveOverflow(t *testing.T) {
	r, b := overflow(t), newBatch(t, 64)
	info, err := r.MemInfo()
	if errors.Is(err, unix.ENOPROTOOPT) {
		t.Skip("the kernel lacks SO_MEMINFO")
	}
	if err != nil || int(info.RcvBuf) != r.RcvBuf() || info.QueuedBytes < 1000 {
		t.Errorf("memory %+v, %v; receive buffer %d", info, err, r.RcvBuf())
	}
	table, err := OpenDropTable()
	if err != nil {
		t.Fatal(err)
	}
	defer table.Close()
	drops := map[uint32]uint64{4711: 1}
	for range 2 {
		if err := table.Read(unix.NETLINK_USERSOCK, drops); err != nil {
			t.Fatal(err)
		}
		if n := drops[r.PortID()]; n != uint64(info.Drops) || n == 0 || drops[4711] != 0 {
			t.Errorf("the socket table says %d drops, SO_MEMINFO %d", n, info.Drops)
		}
	}
	if n, err := r.Receive(b, 64); n != 0 || !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("received %d, %v; want ENOBUFS first", n, err)
	}
	n, err := r.Receive(b, 64)
	if n == 0 || err != nil {
		t.Fatalf("received %d, %v; want the queued messages", n, err)
	}
	if uint32(n)+info.Drops != 100 {
		t.Errorf("%d received and %d dropped, want 100 in all", n, info.Drops)
	}
	if c := r.Counters(); c.Overflows != 1 || c.ReceivedLinear != uint64(n) {
		t.Errorf("counters %+v", c)
	}
	if info, err := r.MemInfo(); err != nil || info.QueuedBytes != 0 {
		t.Errorf("after everything was received: memory %+v, %v", info, err)
	}
}

func TestSocketErrorTakesOverflow(t *testing.T) {
	r, b := overflow(t), newBatch(t, 64)
	if err := r.SocketError(); !errors.Is(err, unix.ENOBUFS) {
		t.Fatalf("error %v, want ENOBUFS", err)
	}
	if err := r.SocketError(); err != nil {
		t.Errorf("error %v after it was read", err)
	}
	if n, err := r.Receive(b, 64); n == 0 || err != nil || r.Counters().Overflows != 1 {
		t.Errorf("received %d, %v, counters %+v", n, err, r.Counters())
	}
}

func TestReceiverBuffer(t *testing.T) {
	byDefault, err := OpenReceiver(unix.NETLINK_USERSOCK, ReceiverConfig{})
	if err != nil {
		t.Fatal(err)
	}
	defer byDefault.Close()
	small := openAnySender(t, socketConfig{rcvbuf: 32 << 10})
	if small.RcvBuf() != 64<<10 || byDefault.RcvBuf() == 64<<10 {
		t.Errorf("receive buffers: asked for 32 KiB %d, default %d", small.RcvBuf(), byDefault.RcvBuf())
	}
}

func TestOpenErrors(t *testing.T) {
	checkFDs(t)
	tests := map[string]struct {
		open func() error
		want unix.Errno
	}{
		"negative receive buffer": {func() error { _, err := OpenReceiver(0, ReceiverConfig{RcvBuf: -1}); return err }, unix.EINVAL},
		"huge receive buffer":     {func() error { _, err := OpenReceiver(0, ReceiverConfig{RcvBuf: 1 << 30}); return err }, unix.EINVAL},
		"negative send buffer":    {func() error { _, err := Dial(0, Config{SndBuf: -1}); return err }, unix.EINVAL},
		"receiver's protocol":     {func() error { _, err := OpenReceiver(9999, ReceiverConfig{}); return err }, unix.EPROTONOSUPPORT},
		"conn's protocol":         {func() error { _, err := Dial(77, Config{}); return err }, unix.EPROTONOSUPPORT},
		"group":                   {func() error { _, err := OpenNotifier(0, []uint32{1, 1 << 20}, ReceiverConfig{}); return err }, unix.EINVAL},
	}
	for name, tt := range tests {
		var op *OpError
		if err := tt.open(); !errors.Is(err, tt.want) || !errors.As(err, &op) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestReceiverClose(t *testing.T) {
	checkFDs(t)
	b := newBatch(t, 1)
	r := openAnySender(t, socketConfig{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for name, fn := range map[string]func() error{
		"Receive":     func() error { _, err := r.Receive(b, 1); return err },
		"Join":        func() error { return r.Join(1) },
		"SocketError": r.SocketError,
		"MemInfo":     func() error { _, err := r.MemInfo(); return err },
	} {
		if err := fn(); !errors.Is(err, ErrClosed) || !errors.Is(err, os.ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	if r.FD() != -1 {
		t.Errorf("descriptor %d after Close", r.FD())
	}
}

func TestBatch(t *testing.T) {
	for _, n := range []int{0, -3} {
		if _, err := NewBatch(n); !errors.Is(err, unix.EINVAL) {
			t.Errorf("batch of %d: %v, want EINVAL", n, err)
		}
	}
	b := newBatch(t, 3)
	for range 2 {
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
	}
	r := openAnySender(t, socketConfig{})
	newSender(t).send(r.PortID(), message(20, 0, 1, 0))
	if n, err := r.Receive(b, 3); n != 0 || err != nil || b.Free() != 0 {
		t.Errorf("closed batch: received %d, %v, room for %d", n, err, b.Free())
	}
}

func TestReceiveDoesNotAllocate(t *testing.T) {
	tx, b := newSender(t), newBatch(t, 8)
	r := openAnySender(t, socketConfig{})
	to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: r.PortID()}
	good, bad := message(20, 0, 1, 0, pattern(1, 300)...), pattern(2, 64)
	assertAllocs(t, "Receive", func() {
		for _, m := range [][]byte{good, bad, good} {
			if err := unix.Sendto(tx.fd, m, 0, to); err != nil {
				t.Fatal(err)
			}
		}
		if n, err := r.Receive(b, 8); n != 2 || err != nil {
			t.Fatalf("received %d, %v", n, err)
		}
		if n, err := r.Receive(b, 8); n != 0 || err != nil {
			t.Fatalf("received %d, %v", n, err)
		}
		b.Release()
	})
}

func TestTransportString(t *testing.T) {
	if got := fmt.Sprint(Linear, Ring, Transport(9)); got != "linear ring unknown" {
		t.Error(got)
	}
}
