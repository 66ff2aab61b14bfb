package netlink

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// testRing has 16 frames of 1024 bytes: room for 1000.
var testRing = mmapring.Geometry{FrameSize: 1024, BlockSize: 4096, Blocks: 4}

// ringReceiver opens a receiver with a ring on an emulated kernel.
func ringReceiver(t testing.TB, k *ringtest.Kernel) (*Receiver, *ringtest.Socket) {
	t.Helper()
	r, err := OpenReceiver(unix.NETLINK_GENERIC, ReceiverConfig{Ring: testRing, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.RingError(); err != nil || r.Transport() != Ring {
		t.Fatalf("no ring: %v", err)
	}
	s := k.Lookup(r.FD())
	t.Cleanup(func() {
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		if n := s.Mapped(); n != 0 {
			t.Errorf("%d mappings left", n)
		}
	})
	return r, s
}

func deliver(t *testing.T, s *ringtest.Socket, msgs ...[]byte) {
	t.Helper()
	for _, m := range msgs {
		if err := s.Deliver(m); err != nil {
			t.Fatal(err)
		}
	}
}

func wantBatch(t *testing.T, b *Batch, want ...[]byte) {
	t.Helper()
	if b.Len() != len(want) {
		t.Fatalf("%d datagrams, want %d", b.Len(), len(want))
	}
	for i, w := range want {
		if !bytes.Equal(b.Data(i), w) {
			t.Errorf("datagram %d: %d bytes, want %d: they differ", i, len(b.Data(i)), len(w))
		}
	}
}

func TestRingReceivesInOrder(t *testing.T) {
	for _, version := range []ringtest.Version{ringtest.V41, ringtest.V44} {
		k := ringtest.New(ringtest.Config{Version: version})
		r, s := ringReceiver(t, k)
		b := newBatch(t, 64)
		small := message(20, 0, 1, 0, pattern(1, 300)...)
		jumbo := message(20, 0, 2, 0, pattern(2, 60_000)...)
		full := message(20, 0, 3, 0, pattern(3, 984)...)
		if r.Ready() {
			t.Error("ready before anything arrived")
		}
		deliver(t, s, small, jumbo)
		aborted, err := s.Reserve(100)
		if err != nil {
			t.Fatal(err)
		}
		aborted.Abort()
		deliver(t, s, full)
		if !r.Ready() {
			t.Error("not ready with four frames")
		}
		// The first receive call for the COPY frame reports an overrun, the second is interrupted.
		s.FailRecv(unix.ENOBUFS, unix.EINTR)
		n, err := r.Receive(b, 64)
		if n != 3 || err != nil {
			t.Fatalf("received %d, %v", n, err)
		}
		wantBatch(t, b, small, jumbo, full)
		want := Counters{ReceivedRing: 2, ReceivedCopy: 1, Jumbo: 1, Aborted: 1, Overflows: 1, Overruns: 1,
			Bytes: uint64(len(small) + len(jumbo) + len(full))}
		if diff := cmp.Diff(want, r.Counters()); diff != "" {
			t.Errorf("counters (-want +got):\n%s", diff)
		}
		if s.RX(0).Status == 0 {
			t.Error("a lent frame was given back before Release")
		}
		b.Release()
		for i := range 4 {
			if st := s.RX(i).Status; st != 0 {
				t.Errorf("frame %d has status %d after Release", i, st)
			}
		}
		if n, err := r.Receive(b, 64); n != 0 || err != nil {
			t.Errorf("an empty ring gave %d, %v", n, err)
		}
	}
}

func TestRingLendsAtMostHalf(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	other, so := ringReceiver(t, k)
	b := newBatch(t, 64)
	var sent [][]byte
	for i := range 12 {
		m := message(20, 0, uint32(i), 0, pattern(i, 40+i)...)
		sent = append(sent, m)
		deliver(t, s, m)
	}
	deliver(t, so, sent[0], sent[1])
	n, err := r.Receive(b, 64)
	if n != 8 || err != nil {
		t.Fatalf("received %d, %v; half of 16 frames are 8", n, err)
	}
	if n, err := other.Receive(b, 1); n != 1 || err != nil {
		t.Fatalf("received %d, %v from the other socket", n, err)
	}
	wantBatch(t, b, append(append([][]byte(nil), sent[:8]...), sent[0])...)
	// In place: writes of the kernel's side are visible.
	mem := s.RXMemory()
	i := bytes.Index(mem, sent[3])
	mem[i+20] ^= 0xff
	if b.Data(3)[20] != sent[3][20]^0xff {
		t.Error("the datagram is a copy")
	}
	b.Release()
	if n, _ := r.Receive(b, 3); n != 3 {
		t.Errorf("received %d with a limit of 3", n)
	}
	wantBatch(t, b, sent[8:11]...)
	b.Release()
	if n, _ := r.Receive(b, 64); n != 1 {
		t.Errorf("received %d, 1 was left", n)
	}
	b.Release()
}

func TestRingReservedFrameBlocksLaterOnes(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	b := newBatch(t, 8)
	first := message(20, 0, 1, 0, pattern(1, 77)...)
	second := message(20, 0, 2, 0, pattern(2, 99)...)
	p, err := s.Reserve(len(first))
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, s, second)
	if n, err := r.Receive(b, 8); n != 0 || err != nil || r.Ready() {
		t.Fatalf("received %d, %v past a frame in work", n, err)
	}
	p.Complete(copy(p.Room(), first))
	if n, err := r.Receive(b, 8); n != 2 || err != nil {
		t.Fatalf("received %d, %v", n, err)
	}
	wantBatch(t, b, first, second)
	b.Release()
}

func TestRingDropsMalformed(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	b := newBatch(t, 8)
	good := message(20, 0, 9, 0, pattern(4, 50)...)
	short := message(20, 0, 1, 0, pattern(1, 40)...)
	short[0] = 200 // longer than its frame says
	deliver(t, s, short, good, good, good, good)
	h := s.RX(2)
	h.Len = 5000
	s.SetRX(2, h)
	h = s.RX(3)
	h.PID = 1234
	s.SetRX(3, h)
	if n, err := r.Receive(b, 8); n != 2 || err != nil {
		t.Fatalf("received %d, %v", n, err)
	}
	wantBatch(t, b, good, good)
	// The malformed one counts as received.
	want := Counters{ReceivedRing: 3, Bytes: uint64(2 * len(good)), Malformed: 1, Oversized: 1, RingForeign: 1}
	if diff := cmp.Diff(want, r.Counters()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	b.Release()
	for i := range 5 {
		if st := s.RX(i).Status; st != 0 {
			t.Errorf("frame %d has status %d after Release", i, st)
		}
	}
}

func TestRingOverrunIsCountedOnceAndRecovers(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	b := newBatch(t, 64)
	m := message(20, 0, 1, 0, pattern(1, 64)...)
	lost := 0
	for range 20 {
		if s.Deliver(m) != nil {
			lost++
		}
	}
	if lost != 4 {
		t.Fatalf("%d lost of 20 with 16 frames", lost)
	}
	if err := r.SocketError(); !errors.Is(err, unix.ENOBUFS) {
		t.Errorf("error %v, want ENOBUFS", err)
	}
	if err := r.SocketError(); err != nil {
		t.Errorf("the error stays: %v", err)
	}
	got := 0
	for range 3 {
		n, err := r.Receive(b, 64)
		if err != nil {
			t.Fatal(err)
		}
		got += n
		b.Release()
	}
	if got != 16 || !s.Congested() {
		t.Errorf("received %d, congested %v", got, s.Congested())
	}
	jumbo := message(20, 0, 1, 0, pattern(1, 5000)...)
	if s.Deliver(jumbo) == nil {
		t.Fatal("the emulated kernel accepted a COPY while congested")
	}
	if err := r.Poll(); err != nil {
		t.Fatal(err)
	}
	deliver(t, s, jumbo)
	if n, err := r.Receive(b, 64); n != 1 || err != nil {
		t.Errorf("received %d, %v after the poll", n, err)
	}
	b.Release()
	if c := r.Counters(); c.Overruns != 1 || c.Overflows != 1 {
		t.Errorf("counters %+v", c)
	}
}

func TestRingOutOfStep(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	b := newBatch(t, 8)
	jumbo := message(20, 0, 1, 0, pattern(1, 5000)...)
	deliver(t, s, jumbo)
	s.FailRecv(unix.EAGAIN)
	if n, err := r.Receive(b, 8); n != 0 || !errors.Is(err, errDesynchronised) {
		t.Fatalf("received %d, %v", n, err)
	}
	if st := s.RX(0).Status; st != 3 {
		t.Errorf("the COPY frame has status %d: released without its receive call", st)
	}
	// The receive call succeeds the next time, so nothing is lost.
	if n, err := r.Receive(b, 8); n != 1 || err != nil {
		t.Fatalf("received %d, %v", n, err)
	}
	wantBatch(t, b, jumbo)
	b.Release()
}

// TestRingTakenOverWithoutQueuedMessage: the previous process had received the message of a COPY
// frame but exited before it recorded that. The frame is skipped.
func TestRingTakenOverWithoutQueuedMessage(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	small := message(30, 0, 1, 0, pattern(1, 100)...)
	deliver(t, s, message(30, 0, 1, 0, pattern(2, 4000)...), small)
	if _, err := k.Recv(r.FD(), make([]byte, 8000)); err != nil {
		t.Fatal(err)
	}
	fd, ring, err := r.Detach()
	if err != nil {
		t.Fatal(err)
	}
	next, err := AdoptReceiver(unix.NETLINK_GENERIC, fd, ring, ReceiverConfig{Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	defer next.Close()
	b := newBatch(t, 8)
	if n, err := next.Receive(b, 8); n != 1 || err != nil {
		t.Fatalf("%d received, %v", n, err)
	}
	wantBatch(t, b, small)
	b.Release()
}

func TestRingCloseWithFramesLent(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	b := newBatch(t, 8)
	m := message(20, 0, 1, 0, pattern(1, 64)...)
	deliver(t, s, m)
	if n, _ := r.Receive(b, 8); n != 1 {
		t.Fatal("nothing received")
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	wantBatch(t, b, m)
	if _, err := r.Receive(b, 8); !errors.Is(err, ErrClosed) {
		t.Errorf("error %v after Close", err)
	}
	b.Release()
	if n := k.Alive(); n != 0 {
		t.Errorf("%d sockets live on in the kernel", n)
	}
}

func TestReceiverWithoutRing(t *testing.T) {
	for _, tc := range []struct {
		name string
		cfg  ringtest.Config
		ring mmapring.Geometry
		want error
	}{
		{"no rings", ringtest.Config{NoRings: true}, testRing, mmapring.ErrNotSupported},
		{"no capability", ringtest.Config{NoCap: true}, testRing, unix.EPERM},
		{"no memory", ringtest.Config{FailMmap: unix.ENOMEM}, testRing, unix.ENOMEM},
		{"bad geometry", ringtest.Config{}, mmapring.Geometry{FrameSize: 1022, BlockSize: 4096, Blocks: 1}, unix.EINVAL},
	} {
		t.Run(tc.name, func(t *testing.T) {
			k := ringtest.New(tc.cfg)
			r, err := OpenReceiver(unix.NETLINK_GENERIC, ReceiverConfig{Ring: tc.ring, Kernel: k})
			if err != nil {
				t.Fatal(err)
			}
			if !errors.Is(r.RingError(), tc.want) || r.Transport() != Linear || r.Ready() {
				t.Errorf("transport %v, reason %v; want linear, %v", r.Transport(), r.RingError(), tc.want)
			}
			if rx, tx := k.Lookup(r.FD()).HasRings(); rx || tx {
				t.Error("a ring is set")
			}
			if err := r.Close(); err != nil || k.Alive() != 0 {
				t.Errorf("%v, %d sockets left", err, k.Alive())
			}
		})
	}
	// On the running kernel, with or without rings.
	r, err := OpenReceiver(unix.NETLINK_GENERIC, ReceiverConfig{Ring: testRing})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if (r.Transport() == Ring) != (r.RingError() == nil) {
		t.Errorf("transport %v, reason %v", r.Transport(), r.RingError())
	}
}

func TestRingReceiveAllocatesNothing(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	k := ringtest.New(ringtest.Config{})
	r, s := ringReceiver(t, k)
	b := newBatch(t, 64)
	m := message(20, 0, 1, 0, pattern(1, 200)...)
	var before, after runtime.MemStats
	for round := range 50 {
		deliver(t, s, m, m, m, m)
		runtime.ReadMemStats(&before)
		n, err := r.Receive(b, 64)
		b.Release()
		runtime.ReadMemStats(&after)
		if n != 4 || err != nil {
			t.Fatal(n, err)
		}
		if got := after.Mallocs - before.Mallocs; got != 0 && round > 0 {
			t.Fatalf("%d allocations to receive and release 4 messages", got)
		}
	}
}
