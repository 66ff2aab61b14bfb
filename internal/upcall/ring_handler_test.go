package upcall

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

var versions = []struct {
	name string
	v    ringtest.Version
}{{"4.4", ringtest.V44}, {"4.1", ringtest.V41}}

// TestRingHeadsNeedNoEpoll: while rings have frames the handler calls epoll once in ringPasses
// passes, and not at all for frames that are there already.
func TestRingHeadsNeedNoEpoll(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s1 := b.port(1, ring16)
	_, s2 := b.port(2, ring16)
	b.deliver(s1, 1, 100, 16, 200)
	b.deliver(s2, 2, 500, 13, 1400)
	b.step()
	b.step()
	if n := b.h.polls.Load(); n != 0 {
		t.Errorf("epoll was called %d times", n)
	}
	b.wantPackets(1, upTo(100, 115)...)
	b.wantPackets(2, upTo(500, 512)...)

	// The kernel refills port 1 as fast as it is answered.
	const load = 20_000
	next := uint64(116)
	b.policy.hook = func(odp.PortNo, uint64) {
		if next < load {
			if s1.Deliver(b.upcall(1, next, 100+int(next%900))) == nil {
				next++
			}
		}
	}
	b.deliver(s1, 1, 116, 0, 0)
	b.deliver(s1, 1, next, 8, 60)
	next += 8
	passes := uint64(0)
	for ; next < load; passes++ {
		b.step()
	}
	if n := b.h.polls.Load(); n < passes/ringPasses || n > passes/ringPasses+1 {
		t.Errorf("epoll was called %d times in %d passes, want every %dth", n, passes, ringPasses)
	}
	if got := b.policy.packets(1); !slices.Equal(got, upTo(100, uint64(99+len(got)))) {
		t.Error("upcalls are missing or out of order")
	}
}

// TestRingSleepHasABound: aborted messages cause no wake-up, so sleeps are bounded.
func TestRingSleepHasABound(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	b.port(9, mmapring.Geometry{})
	b.step()
	if want := []time.Duration{-1}; !slices.Equal(b.epoll.timeouts, want) {
		t.Errorf("waits of %v without a ring, want %v", b.epoll.timeouts, want)
	}
	ch, s := b.port(1, ring16)
	b.h.rescan = 30 * time.Millisecond
	b.epoll.timeouts = nil
	b.step()
	for i := range 20 {
		p, err := s.Reserve(300)
		if err != nil {
			t.Fatalf("aborted message %d: %v", i, err)
		}
		p.Abort()
		b.step()
	}
	b.deliver(s, 1, 7, 1, 300)
	b.step()
	b.wantPackets(1, 7)
	if c := ch.port.Counters(); c.Socket.Aborted != 20 || c.Socket.ReceivedRing != 1 {
		t.Errorf("counters %+v", c.Socket)
	}
	for _, d := range b.epoll.timeouts {
		if d != 30*time.Millisecond {
			t.Errorf("a wait of %v with a ring, want the bound", d)
		}
	}
}

// TestRingAbortedFrameIsReleasedWithinTheBound uses waits that block.
func TestRingAbortedFrameIsReleasedWithinTheBound(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s := b.port(1, ring16)
	b.h.rescan = 5 * time.Millisecond
	asleep := make(chan struct{}, 1)
	b.epoll.idle = func() {
		select {
		case asleep <- struct{}{}:
		default:
		}
	}
	ended := b.start()
	<-asleep
	p, err := s.Reserve(100)
	if err != nil {
		t.Fatal(err)
	}
	p.Abort()
	b.eventually("the aborted frame is released", func() bool { return s.RX(0).Status == 0 })
	b.h.Stop()
	ended()
}

// TestRingEdges: a ring whose head frame the kernel is still writing causes no further event until
// the kernel is done, although a later frame can be read.
func TestRingEdges(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s := b.port(1, ring16)
	p, err := s.Reserve(200)
	if err != nil {
		t.Fatal(err)
	}
	b.deliver(s, 1, 1, 1, 200)
	b.step()
	b.epoll.timeouts, b.epoll.reported = nil, 0
	for range 5 {
		b.step()
	}
	if b.epoll.reported != 0 || len(b.epoll.timeouts) != 5 {
		t.Errorf("%d events, %d sleeps in 5 rounds; want sleeps only", b.epoll.reported, len(b.epoll.timeouts))
	}
	p.Complete(copy(p.Room(), b.upcall(1, 0, 100)))
	b.step()
	b.wantPackets(1, 0, 1)
}

// TestRingAddedWithFrames: frames that arrived before the socket was added to the epoll set are
// read without an event.
func TestRingAddedWithFrames(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{Ring: ring16, Kernel: b.k})
	if err != nil {
		t.Fatal(err)
	}
	s := b.k.Lookup(sock.FD())
	b.deliver(s, 1, 0, 12, 100)
	if err := b.h.attach(NewSocket(sock, NewPort(1, "p", 0))); err != nil {
		t.Fatal(err)
	}
	b.step()
	b.step()
	b.wantPackets(1, upTo(0, 11)...)
}

// TestRingWakesForEachMessage: a message that arrives between the check of the heads and the sleep,
// or during the sleep, is answered long before the sleep's bound.
func TestRingWakesForEachMessage(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s := b.port(1, ring16)
	b.h.rescan = hangs
	rounds := 0
	b.epoll.idle = func() {
		// The heads have been checked, and the handler is about to sleep.
		if rounds < 200 {
			b.deliver(s, 1, uint64(rounds), 1, 100)
			rounds++
		}
	}
	ended := b.start()
	b.eventually("all upcalls are answered", func() bool { return b.policy.count() == 200 })
	b.h.Stop()
	ended()
	b.wantPackets(1, upTo(0, 199)...)
}

// TestRingOverrun: the error is cleared, the loss counted, the ring drained, and COPY messages
// arrive again.
func TestRingOverrun(t *testing.T) {
	for _, version := range versions {
		t.Run(version.name, func(t *testing.T) {
			b := newBench(t, ringtest.New(ringtest.Config{Version: version.v}))
			ch, s := b.port(1, ring16)
			if lost := b.deliver(s, 1, 0, 21, 150); lost != 5 {
				t.Fatalf("%d lost of 21 with 16 frames", lost)
			}
			for range 4 {
				b.step()
			}
			b.wantPackets(1, upTo(0, 15)...)
			if s.Level() != 0 {
				t.Errorf("the socket still reports %#x", s.Level())
			}
			c := ch.port.Counters()
			if c.Socket.Overruns != 1 || c.Socket.Overflows != 1 || c.SocketDrops != 1 || c.ReceiveErrors != 0 {
				t.Errorf("counters: %d overruns, %d overflows, %d drops, %d errors", c.Socket.Overruns, c.Socket.Overflows,
					c.SocketDrops, c.ReceiveErrors)
			}
			if s.Congested() {
				t.Error("the kernel was not polled: it accepts no COPY")
			}
			b.deliver(s, 1, 30, 1, 60_000)
			b.deliver(s, 1, 31, 1, 64)
			b.step()
			b.wantPackets(1, append(upTo(0, 15), 30, 31)...)
			if c := ch.port.Counters().Socket; c.ReceivedCopy != 1 || c.Jumbo != 1 || c.ReceivedRing != 17 {
				t.Errorf("counters: %d copied, %d jumbo, %d in place", c.ReceivedCopy, c.Jumbo, c.ReceivedRing)
			}
		})
	}
}

// TestRingOverrunUnderLoad: a ring that overran is polled as soon as it is empty, although another
// ring never is.
func TestRingOverrunUnderLoad(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s1 := b.port(1, ring16)
	ch2, s2 := b.port(2, ring16)
	next := uint64(0)
	refill := func(odp.PortNo, uint64) {
		if s1.Deliver(b.upcall(1, next, 80)) == nil {
			next++
		}
	}
	for range 4 {
		refill(0, 0)
	}
	b.policy.hook = refill
	b.deliver(s2, 2, 0, 20, 90)
	steps := 0
	for ; s2.Congested() && steps < 10*ringPasses; steps++ {
		b.step()
	}
	if s2.Congested() || steps > 2*ringPasses {
		t.Errorf("congested %v after %d steps", s2.Congested(), steps)
	}
	b.policy.hook = nil
	b.deliver(s2, 2, 77, 1, 9000)
	for range 4 {
		b.step()
	}
	b.wantPackets(2, append(upTo(0, 15), 77)...)
	if c := ch2.port.Counters().Socket; c.Overruns != 1 {
		t.Errorf("%d overruns", c.Overruns)
	}
}

// TestRingIsPolledAtTheBound: after the bound, a sleeping ring is polled even if its error is gone.
func TestRingIsPolledAtTheBound(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring16)
	b.deliver(s, 1, 0, 17, 100)
	if errno, err := b.k.SoError(ch.FD()); errno != unix.ENOBUFS || err != nil {
		t.Fatal(errno, err)
	}
	for range 6 {
		b.step()
	}
	b.wantPackets(1, upTo(0, 15)...)
	if s.Congested() {
		t.Error("the kernel was not polled: it accepts no COPY")
	}
}

// TestRingCopyAfterOverrun: the first receive call reports the overrun, the second returns the
// message.
func TestRingCopyAfterOverrun(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring16)
	b.deliver(s, 1, 0, 1, 5000)
	if lost := b.deliver(s, 1, 1, 17, 100); lost != 2 {
		t.Fatalf("%d lost", lost)
	}
	for range 4 {
		b.step()
	}
	b.wantPackets(1, upTo(0, 15)...)
	if c := ch.port.Counters(); c.Socket.Overruns != 1 || c.ReceiveErrors != 0 || s.Queued() != 0 {
		t.Errorf("%d overruns, %d errors, %d queued", c.Socket.Overruns, c.ReceiveErrors, s.Queued())
	}
}

// stuck is a kernel whose socket error persists and causes wake-ups.
type stuck struct {
	*ringtest.Kernel
	asked int
}

func (k *stuck) SoError(int) (unix.Errno, error) {
	k.asked++
	return unix.ENOBUFS, nil
}

// TestRingPersistentError: pauses grow between wake-ups without messages, and messages still
// arrive.
func TestRingPersistentError(t *testing.T) {
	k := &stuck{Kernel: ringtest.New(ringtest.Config{})}
	b := newBench(t, k)
	ch, s := b.port(1, ring16)
	b.deliver(s, 1, 0, 18, 100)
	for b.policy.count() < 16 {
		b.step()
	}
	// The first wake-up has no pause, and sleeps are never shorter than requested.
	const wakeups = 25
	var least time.Duration
	for i := range wakeups - 1 {
		least += min(minBackoff<<min(i, maxFruitless-1), maxBackoff)
	}
	polls, start := b.h.polls.Load(), time.Now()
	for range wakeups {
		s.Wake()
		b.step()
	}
	if took := time.Since(start); took < least {
		t.Errorf("%d wake-ups in %v: the handler spins", wakeups, took)
	}
	if n := b.h.polls.Load() - polls; n != wakeups {
		t.Errorf("%d waits for %d wake-ups", n, wakeups)
	}
	if k.asked < wakeups || ch.port.Counters().Socket.Overruns < wakeups {
		t.Errorf("the error was read %d times", k.asked)
	}
	b.deliver(s, 1, 40, 3, 200)
	b.step()
	if got := b.policy.packets(1); !slices.Equal(got[16:], upTo(40, 42)) {
		t.Errorf("upcalls %v after the error", got[16:])
	}
	if b.h.fruitless != 0 {
		t.Error("a pass with upcalls did not end the pauses")
	}
}

// TestRingWithoutItsQueue: a COPY frame whose message does not arrive neither keeps the handler
// busy nor blocks other ports or the stop.
func TestRingWithoutItsQueue(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring16)
	b.deliver(s, 1, 0, 1, 5000)
	if _, err := b.k.Recv(ch.FD(), make([]byte, 1<<16)); err != nil {
		t.Fatal(err)
	}
	_, other := b.port(2, mmapring.Geometry{})
	start := time.Now()
	for range 2 * maxFruitless {
		b.step()
	}
	if took := time.Since(start); took < maxFruitless*maxBackoff {
		t.Errorf("%d rounds in %v: the handler spins", 2*maxFruitless, took)
	}
	b.deliver(other, 2, 5, 2, 400)
	b.step()
	b.wantPackets(2, 5, 6)
	if n := ch.port.Counters().ReceiveErrors; n < maxFruitless {
		t.Errorf("%d receive errors counted", n)
	}
	ended := b.start()
	b.h.Stop()
	ended()
}

// TestRingFramesWithoutUpcallsReleased: frames are released even if none of them held an upcall.
func TestRingFramesWithoutUpcallsReleased(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring16)
	for range 40 {
		if err := s.Deliver([]byte{200, 0, 0, 0, 9, 9}); err != nil {
			t.Fatal(err)
		}
		b.step()
	}
	b.deliver(s, 1, 3, 1, 100)
	b.step()
	b.step()
	b.wantPackets(1, 3)
	if c := ch.port.Counters().Socket; c.Malformed != 40 {
		t.Errorf("%d malformed", c.Malformed)
	}
}

// TestRingBatchIsHalfARing: a batch lends at most half of the ring, so that the kernel has room.
func TestRingBatchIsHalfARing(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring16)
	most := 0
	b.policy.hook = func(odp.PortNo, uint64) {
		held := 0
		for i := range b.h.in.Len() {
			if b.h.owner[i] == ch {
				held++
			}
		}
		most = max(most, held)
	}
	b.deliver(s, 1, 0, 16, 700)
	b.step()
	if most != 8 {
		t.Errorf("%d of 16 frames were lent at once, want 8", most)
	}
	if lost := b.deliver(s, 1, 16, 8, 700); lost != 0 {
		t.Errorf("%d lost with half of the ring free", lost)
	}
	b.step()
	b.step()
	b.wantPackets(1, upTo(0, 23)...)
}

// TestRingsShareABatch: each of two flooding rings gets half of each pass.
func TestRingsShareABatch(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s1 := b.port(1, ring512)
	_, s2 := b.port(2, ring512)
	b.deliver(s1, 1, 0, 500, 120)
	b.deliver(s2, 2, 0, 200, 90)
	for range 5 {
		b.step()
	}
	for from := 0; from < 5*sharedPass; from += sharedPass {
		n := 0
		for _, in := range b.policy.order[from : from+sharedPass] {
			if in == 1 {
				n++
			}
		}
		if n != sharedPass/2 {
			t.Errorf("port 1 has %d of pass %d", n, from/sharedPass)
		}
	}
}

// TestRingDoesNotStarveLinear: a socket without a ring is served every few passes, although a ring
// always has frames.
func TestRingDoesNotStarveLinear(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s1 := b.port(1, ring512)
	ch2, s2 := b.port(2, mmapring.Geometry{})
	next := uint64(0)
	b.policy.hook = func(odp.PortNo, uint64) {
		for range 2 {
			if s1.Deliver(b.upcall(1, next, 100)) == nil {
				next++
			}
		}
	}
	b.policy.hook(0, 0)
	for s1.Stats().Lost == 0 { // until the ring is full
		b.step()
	}
	b.deliver(s2, 2, 0, 100, 300)
	steps := 0
	for ; len(b.policy.packets(2)) < 100 && steps < 100; steps++ {
		b.step()
	}
	b.wantPackets(2, upTo(0, 99)...)
	// Half of a pass every mixedPasses passes.
	if most := (100/(sharedPass/2) + 1) * mixedPasses; steps > most {
		t.Errorf("100 upcalls of the linear port took %d passes, want %d at most", steps, most)
	}
	if c := ch2.port.Counters().Socket; c.ReceivedLinear != 100 || c.ReceivedRing != 0 {
		t.Errorf("counters: %d linear, %d in place", c.ReceivedLinear, c.ReceivedRing)
	}
}

// TestRingShedsInOnePass: when a port is over its limit, one pass reads and releases all frames of
// its ring.
func TestRingShedsInOnePass(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring512)
	_, other := b.port(2, ring16)
	ch.port.limit.rate.Store(10)
	b.deliver(s, 1, 0, 400, 100)
	b.deliver(other, 2, 0, 4, 100)
	for !ch.port.limit.shedding {
		b.step()
	}
	b.wantPackets(2, upTo(0, 3)...)
	b.step()
	// On a busy machine the limit admits a few more, ten per second.
	admitted := len(b.policy.packets(1))
	if c := ch.port.Counters(); admitted < 10 || admitted > 100 || c.Shed != uint64(400-admitted) {
		t.Errorf("%d admitted and %d shed of 400", admitted, c.Shed)
	}
	if lost := b.deliver(s, 1, 400, 504, 100); lost != 0 {
		t.Errorf("%d lost of a ring that was emptied", lost)
	}
	if n := b.h.polls.Load(); n != 0 {
		t.Errorf("epoll was called %d times", n)
	}
}

// BenchmarkRingShed measures the cost of a frame whose upcall is shed, with 400 of them per pass.
func BenchmarkRingShed(b *testing.B) {
	x := newBench(b, ringtest.New(ringtest.Config{Memfd: true}))
	ch, s := x.port(1, ring512)
	ch.port.limit.rate.Store(1)
	const frames = 400
	var busy time.Duration
	for b.Loop() {
		x.deliver(s, 1, 0, frames, 100)
		start := time.Now()
		for ch.Ready() {
			x.step()
		}
		busy += time.Since(start)
	}
	if shed := ch.port.Counters().Shed; shed < uint64(b.N*frames)/2 {
		b.Errorf("%d shed of %d", shed, b.N*frames)
	}
	b.ReportMetric(float64(busy.Nanoseconds())/float64(b.N*frames), "ns/frame")
	b.ReportMetric(0, "ns/op") // hidden: it includes the emulated kernel
}

// TestRingStop: frames in the rings are answered first; a message that is never completed does not
// delay the stop.
func TestRingStop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		frames int
		stuck  bool
	}{{"empty", 0, false}, {"full", 16, false}, {"one in work", 5, true}} {
		t.Run(tt.name, func(t *testing.T) {
			b := newBench(t, ringtest.New(ringtest.Config{}))
			_, s := b.port(1, ring16)
			b.port(2, ring16)
			b.deliver(s, 1, 0, tt.frames, 100)
			var p *ringtest.Pending
			if tt.stuck {
				var err error
				if p, err = s.Reserve(100); err != nil {
					t.Fatal(err)
				}
				b.deliver(s, 1, 90, 1, 100)
			}
			b.h.Stop()
			b.start()()
			if tt.frames > 0 {
				b.wantPackets(1, upTo(0, uint64(tt.frames-1))...)
			}
			if p != nil {
				p.Abort()
			}
		})
	}
}

// forwardAll is a policy that allocates nothing.
type forwardAll struct{ policy.Policy }

func (forwardAll) Decide(_ *dpif.Upcall, _ int64, v *policy.Verdict) { odp.AppendOutput(&v.Actions, 3) }

// TestRingRoundAllocatesNothing checks the way from the frame to the request and back.
func TestRingRoundAllocatesNothing(t *testing.T) {
	if ringRace {
		t.Skip("the race detector allocates")
	}
	// Garbage collection itself allocates.
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	b := newBench(t, ringtest.New(ringtest.Config{}))
	b.h.policy = forwardAll{}
	ch1, s1 := b.port(1, ring512)
	ch2, s2 := b.port(2, ring16)
	var before, after runtime.MemStats
	var allocating []string
	for round := range 20 {
		b.deliver(s1, 1, 0, 30, 100+round)
		b.deliver(s2, 2, 0, 7, 1500)
		b.deliver(s2, 2, 0, 1, 40_000)
		runtime.ReadMemStats(&before)
		for ch1.Ready() || ch2.Ready() {
			b.step()
		}
		runtime.ReadMemStats(&after)
		// Buffers grow in the first rounds.
		if n := after.Mallocs - before.Mallocs; n != 0 && round > 4 {
			allocating = append(allocating, fmt.Sprintf("round %d: %d", round, n))
		}
	}
	// All rounds are the same, so an allocation on the path would show in each of them. The count
	// is that of the process, which includes goroutines of the runtime.
	if len(allocating) > 2 {
		t.Errorf("allocations for 38 upcalls: %v", allocating)
	}
	if n := b.h.polls.Load(); n != 0 {
		t.Errorf("epoll was called %d times", n)
	}
}

// TestRingFill: the maximum number of frames in use is reported once.
func TestRingFill(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	_, s := b.port(1, ring512)
	b.deliver(s, 1, 0, 300, 100)
	for range 6 {
		b.step()
	}
	b.deliver(s, 1, 300, 5, 100)
	b.step()
	if got := b.h.RingFill(); got != 300 {
		t.Errorf("%d frames were in use at most, want 300", got)
	}
	if got := b.h.RingFill(); got != 0 {
		t.Errorf("%d frames are reported again", got)
	}
}
