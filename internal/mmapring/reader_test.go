package mmapring

import (
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// Rules: frames are read in strict order, through blocks with gaps and round the ring; the payload
// is the frame itself; it belongs to the user until it is released.
func TestReadInPlace(t *testing.T) {
	for _, g := range []Geometry{small, gapped, {4096, 4096, 5}, {1000, 4096, 2}, DefaultGeometry()} {
		t.Run(g.String(), func(t *testing.T) {
			o, sock := newRX(t, ringtest.Config{Memfd: true}, g)
			frames := int(g.Frames())
			for i := range 3*frames + 1 {
				size := 16 + i*37%(int(g.Room())-16)
				deliver(t, sock, uint64(i), size)
				p := o.want(t, uint64(i), Message)
				if h := sock.RX(i % frames); Status(h.Status) != Valid {
					t.Fatalf("frame %d is %v while it is lent", i%frames, Status(h.Status))
				}
				o.wantNone(t, Empty)
				if cap(p) != size {
					t.Fatalf("capacity of the payload is %d, of %d", cap(p), size)
				}
				o.r.Release(1)
				if h := sock.RX(i % frames); Status(h.Status) != Unused {
					t.Fatalf("frame %d is %v after Release", i%frames, Status(h.Status))
				}
			}
		})
	}
}

// Rule: the user's last store to a frame is UNUSED, after the last use of the payload: frames are
// released oldest first, and only by Release.
func TestReleaseInOrder(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 0, 100, 200, 300, 400)
	for i := range uint64(4) {
		o.want(t, i, Message)
	}
	for _, tc := range []struct {
		release int
		want    []Status
	}{
		{0, []Status{Valid, Valid, Valid, Valid}},
		{1, []Status{Unused, Valid, Valid, Valid}},
		{2, []Status{Unused, Unused, Unused, Valid}},
		{9, []Status{Unused, Unused, Unused, Unused}},
	} {
		o.r.Release(tc.release)
		if got := statuses(sock, 4); !slices.Equal(got, tc.want) {
			t.Fatalf("after Release(%d): %v, want %v", tc.release, got, tc.want)
		}
	}
	if o.r.Lent() != 0 {
		t.Errorf("%d lent", o.r.Lent())
	}
}

// Rule (4.1): POLLIN means that the frame before the kernel's head is not UNUSED, which holds while
// any frame is unread or lent, if frames are released oldest first. Rule (4.4): any VALID frame.
func TestPollWhileReleasing(t *testing.T) {
	for _, v := range []ringtest.Version{ringtest.V41, ringtest.V44} {
		o, sock := newRX(t, ringtest.Config{Version: v}, small)
		deliver(t, sock, 0, 100, 100, 100)
		for i := range uint64(3) {
			o.want(t, i, Message)
		}
		for left := 3; left > 0; left-- {
			if o.poll(t)&unix.POLLIN == 0 {
				t.Fatalf("version %d: no POLLIN with %d frames not released", v, left)
			}
			o.r.Release(1)
		}
		if o.poll(t)&unix.POLLIN != 0 {
			t.Errorf("version %d: POLLIN with all frames released", v)
		}
	}
}

// Rule: a RESERVED frame may be followed by a VALID one: wait for it, do not skip it.
func TestReservedWaits(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	first, err := sock.Reserve(500)
	if err != nil {
		t.Fatal(err)
	}
	deliver(t, sock, 1, 600)
	for range 3 {
		o.wantNone(t, Waiting)
		if o.r.Ready() {
			t.Fatal("ready at a RESERVED frame")
		}
	}
	ringtest.Fill(first.Room()[:500], first.Seq)
	first.Complete(500)
	o.want(t, 0, Message)
	o.want(t, 1, Message)
	if c := o.r.Counters(); c.Waits != 3 || c.Valid != 2 {
		t.Errorf("counters %+v", c)
	}
}

// Rule: VALID with length 0 is an aborted message: it is skipped, released in order, and causes no
// wake-up.
func TestAborted(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	abort := func() {
		p, err := sock.Reserve(100)
		if err != nil {
			t.Fatal(err)
		}
		p.Abort()
	}
	abort()
	if woken(o.fd) {
		t.Error("an aborted message woke the socket")
	}
	if !o.r.Ready() {
		t.Error("a rescan would not see the aborted message")
	}
	o.wantNone(t, Empty)
	if got := statuses(sock, 1); got[0] != Unused {
		t.Errorf("the frame is %v", got[0])
	}
	deliver(t, sock, 1, 100)
	abort()
	abort()
	deliver(t, sock, 4, 100)
	if !woken(o.fd) {
		t.Error("a message did not wake the socket")
	}
	o.want(t, 1, Message)
	o.want(t, 4, Message)
	// Frames between lent ones cannot be released before the first of them.
	if got := statuses(sock, 5); !slices.Equal(got[1:], []Status{Valid, Valid, Valid, Valid}) {
		t.Errorf("statuses while lent: %v", got)
	}
	o.r.Release(1)
	if got := statuses(sock, 5); !slices.Equal(got[1:], []Status{Unused, Unused, Unused, Valid}) {
		t.Errorf("statuses after Release(1): %v", got)
	}
	o.r.Release(1)
	if c := o.r.Counters(); c != (ReaderCounters{Valid: 2, Aborted: 3}) {
		t.Errorf("counters %+v", c)
	}
}

// woken reports whether the socket was woken since the last call.
func woken(fd int) bool {
	var b [8]byte
	n, _ := unix.Read(fd, b[:])
	return n == 8
}

// A ring full of aborted frames is skipped in one read.
func TestAbortedRound(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	for i := range 16 {
		sock.SetRX(i, ringtest.Header{Status: uint32(Valid)})
	}
	o.wantNone(t, Empty)
	if c := o.r.Counters(); c.Aborted != 16 {
		t.Errorf("counters %+v", c)
	}
}

// Rule: tolerate len > room, unknown statuses, SKIP, and frames not from the kernel: count, bound,
// release. Never leave SKIP in a frame: on 4.1 it stalls the ring.
func TestMalformedFrames(t *testing.T) {
	for _, tc := range []struct {
		name string
		h    ringtest.Header
		want ReaderCounters
	}{
		{"length is the room plus 1", ringtest.Header{Status: 2, Len: 2025}, ReaderCounters{Valid: 2, Oversized: 1}},
		{"length is the frame", ringtest.Header{Status: 2, Len: 2048}, ReaderCounters{Valid: 2, Oversized: 1}},
		{"length is negative", ringtest.Header{Status: 2, Len: 1<<32 - 1}, ReaderCounters{Valid: 2, Oversized: 1}},
		{"skip", ringtest.Header{Status: 4, Len: 100}, ReaderCounters{Valid: 2, UnknownStatus: 1}},
		{"unknown status", ringtest.Header{Status: 5, Len: 100}, ReaderCounters{Valid: 2, UnknownStatus: 1}},
		{"any status", ringtest.Header{Status: 0xdeadbeef}, ReaderCounters{Valid: 2, UnknownStatus: 1}},
		{"foreign", ringtest.Header{Status: 2, Len: 100, PID: 4711}, ReaderCounters{Valid: 2, Foreign: 1}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o, sock := newRX(t, ringtest.Config{Version: ringtest.V41}, small)
			deliver(t, sock, 0, 200, 100, 150)
			sock.SetRX(1, tc.h)
			o.want(t, 0, Message)
			o.want(t, 2, Message)
			o.wantNone(t, Empty)
			o.r.Release(2)
			if got := statuses(sock, 3); !slices.Equal(got, []Status{Unused, Unused, Unused}) {
				t.Errorf("statuses %v", got)
			}
			if c := o.r.Counters(); c != tc.want {
				t.Errorf("counters %+v, want %+v", c, tc.want)
			}
			for i := range uint64(40) {
				deliver(t, sock, 10+i, 64)
				o.want(t, 10+i, Message)
				o.r.Release(1)
			}
			if sock.Stats().SkipStall {
				t.Error("the ring stalled")
			}
		})
	}
}

// The largest message that fits is not malformed.
func TestRoomIsUsable(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 5, int(small.Room()))
	o.want(t, 5, Message)
}

// At most half the ring is lent, and a ring of one frame is usable. Rule: holding one frame stalls
// the ring when the kernel wraps to it.
func TestLimit(t *testing.T) {
	for _, g := range []Geometry{small, gapped, {4096, 4096, 1}, {4096, 4096, 3}} {
		o, sock := newRX(t, ringtest.Config{}, g)
		frames := int(g.Frames())
		for i := range frames {
			deliver(t, sock, uint64(i), 16+i)
		}
		half := max(1, frames/2)
		for i := range half {
			o.want(t, uint64(i), Message)
		}
		o.wantNone(t, Limit)
		if err := sock.Deliver(message(16, 0)); err != unix.ENOBUFS {
			t.Errorf("%v: the kernel wrapped into a lent frame: %v", g, err)
		}
		o.r.Release(half)
		for i := half; i < frames; i++ {
			o.want(t, uint64(i), Message)
			o.r.Release(1)
		}
		o.wantNone(t, Empty)
	}
}

// Ready is true exactly if Read would return something.
func TestReady(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	for status := range uint32(7) {
		sock.SetRX(0, ringtest.Header{Status: status, Len: 50})
		if got, want := o.r.Ready(), status != 0 && status != 1; got != want {
			t.Errorf("%v: ready %v", Status(status), got)
		}
	}
	sock.SetRX(0, ringtest.Header{})
}

func TestStatusString(t *testing.T) {
	for s, want := range []string{"UNUSED", "RESERVED", "VALID", "COPY", "SKIP", "status(5)"} {
		if got := Status(s).String(); got != want {
			t.Errorf("%d is %q, want %q", s, got, want)
		}
	}
}

// Reading in place does not allocate.
func TestReaderAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 3, 700)
	i := 0
	if n := testing.AllocsPerRun(2000, func() {
		// The kernel's side: the next frame becomes VALID.
		sock.SetRX(i%16, ringtest.Header{Status: uint32(Valid), Len: 700})
		i++
		if p, outcome := o.r.Read(); outcome != Message || len(p) != 700 || !o.releaseReady() {
			t.Fatal(outcome, len(p))
		}
	}); n != 0 {
		t.Errorf("%v allocations per message", n)
	}
}

func (o *owner) releaseReady() bool {
	o.r.Release(1)
	return !o.r.Ready()
}

// TestFill counts the frames in use at each position.
func TestFill(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	next := uint64(0)
	for range 20 {
		for fill := range 17 {
			deliver(t, sock, next, slices.Repeat([]int{100}, fill)...)
			if got := o.r.Fill(); got != uint32(fill) {
				t.Fatalf("fill %d at frame %d, want %d", got, o.r.tail, fill)
			}
			for range fill {
				o.want(t, next, Message)
				o.r.Release(1)
				next++
			}
		}
	}
}
