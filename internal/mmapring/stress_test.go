package mmapring

import (
	"math/rand/v2"
	"os"
	"runtime"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// stressMessages is the number of messages of a stress test: few by default, or
// DPIFD_STRESS_MESSAGES.
func stressMessages(t *testing.T) uint64 {
	s := os.Getenv("DPIFD_STRESS_MESSAGES")
	if s == "" {
		return 20000
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n == 0 {
		t.Fatalf("DPIFD_STRESS_MESSAGES=%q is not a positive number", s)
	}
	return n
}

var stressTraffic = ringtest.Traffic{
	Senders: 2, Seed: 11, MinSize: 16, MaxSize: 2024,
	Jumbo: 20, Aborted: 10, Patient: 995, Linger: 30,
}

// Two senders on their own threads, in this process and in another, send through 16 frames: every
// message arrives once, in order and whole, or is counted as lost. With Go memory the race detector
// checks the order of accesses.
func TestStress(t *testing.T) {
	for _, v := range []ringtest.Version{ringtest.V44, ringtest.V41} {
		cfg := ringtest.Config{Version: v}
		name := map[ringtest.Version]string{ringtest.V44: "4.4", ringtest.V41: "4.1"}[v]
		t.Run("goroutines/"+name, func(t *testing.T) {
			o, sock := newRX(t, cfg, small)
			done := make(chan error, 1)
			traffic := stressTraffic
			traffic.Messages = stressMessages(t) / 10
			go func() {
				sock.Run(traffic)
				done <- nil
			}()
			got := o.consume(t, done, nil)
			got.check(t, o.r.Counters(), sock.Stats(), traffic.Messages)
		})
		t.Run("process/"+name, func(t *testing.T) {
			p, err := ringtest.Start(cfg)
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := p.Stop(); err != nil {
					t.Error(err)
				}
			}()
			m, err := Map(p.FD, Config{RX: small, Syscalls: p})
			if err != nil {
				t.Fatal(err)
			}
			o := &owner{sys: p, fd: p.FD, m: m, r: m.Reader(), buf: make([]byte, 1<<18)}
			done := make(chan error, 1)
			traffic := stressTraffic
			traffic.Messages = stressMessages(t) / 2
			go func() { done <- p.Run(traffic) }()
			start := time.Now()
			got := o.consume(t, done, nil)
			t.Logf("%d messages in %v", traffic.Messages, time.Since(start))
			st, err := p.Stats()
			if err != nil {
				t.Fatal(err)
			}
			got.check(t, o.r.Counters(), st, traffic.Messages)
			if err := m.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestSuccession: readers follow each other while another process fills the ring. Some hand it
// over, some end in the middle of a batch with marked frames. Every message is read once, in order.
func TestSuccession(t *testing.T) {
	p, err := ringtest.Start(ringtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := p.Stop(); err != nil {
			t.Error(err)
		}
	}()
	m, err := Map(p.FD, Config{RX: small, Syscalls: p})
	if err != nil {
		t.Fatal(err)
	}
	o := &owner{sys: p, fd: p.FD, m: m, r: m.Reader(), buf: make([]byte, 1<<18)}
	done := make(chan error, 1)
	traffic := stressTraffic
	traffic.Messages = stressMessages(t) / 4
	go func() { done <- p.Run(traffic) }()
	handed, ended, answered := 0, 0, 0
	got := o.consume(t, done, func(lent int) bool {
		if lent == 0 {
			// A ring taken over full must be read through before it is handed over.
			known := o.r.State().Head >= 0
			if known {
				handed++
				o.remap(t, o.close(t))
			}
			return known
		}
		ended++
		o.r.Mark()
		o.crash(t)
		answered += o.remap(t, State{small, -1}).Answered
		return true
	})
	o.close(t)
	st, err := p.Stats()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d handed over, %d ended with %d frames marked; kernel %+v", handed, ended, answered, st)
	if got.messages != st.Valid+st.Copied || got.queued != st.Copied {
		t.Errorf("%d messages arrived, %d of them queued", got.messages, got.queued)
	}
	if handed == 0 || ended == 0 || answered < ended {
		t.Error("too few successions of readers")
	}
}

// consumed counts what the reader of a stress test received.
type consumed struct {
	messages, queued uint64
	next             uint64 // one more than the last message's number
}

// consume reads until done is closed and nothing is left. It lends several messages at a time and
// checks each again before it releases it. After some messages it calls succeed, if not nil, with
// the number of lent ones. If that returns true, another reader continues, and the lent messages
// are gone.
func (o *owner) consume(t *testing.T, done <-chan error, succeed func(lent int) bool) (c consumed) {
	t.Helper()
	type loan struct {
		payload []byte
		seq     uint64
	}
	rng := rand.New(rand.NewPCG(1, 2))
	var lent []loan
	giveBack := func(n int) {
		for _, l := range lent[:n] {
			if seq, err := ringtest.Check(l.payload); l.payload != nil && (err != nil || seq != l.seq) {
				t.Fatalf("message %d changed while it was lent: %d, %v", l.seq, seq, err)
			}
		}
		o.r.Release(n)
		lent = lent[n:]
	}
	ended := false
	for {
		p, outcome, err := o.receive()
		if err != nil {
			t.Fatal(err)
		}
		switch outcome {
		case Message, Queued:
			seq, err := ringtest.Check(p)
			if err != nil {
				t.Fatalf("after message %d: %v", c.next, err)
			}
			if seq < c.next {
				t.Fatalf("message %d after %d", seq, c.next-1)
			}
			c.next = seq + 1
			c.messages++
			if outcome == Queued {
				c.queued++
				p = nil // the buffer is reused
			}
			lent = append(lent, loan{p, seq})
			if succeed != nil && rng.IntN(20) == 0 {
				if rng.IntN(2) == 0 {
					giveBack(len(lent))
				}
				if succeed(len(lent)) {
					lent = nil
					continue
				}
			}
			if len(lent) > 0 && rng.IntN(8) == 0 {
				giveBack(1 + rng.IntN(len(lent)))
			}
		case Limit:
			giveBack(1 + rng.IntN(len(lent)))
		case Waiting, Empty:
			giveBack(len(lent))
			if ended && outcome == Empty && !o.r.Ready() {
				o.takeError(t)
				return c
			}
			ended = o.sleep(t, done) || ended
		}
	}
}

// sleep waits for a wake-up, with a bound because aborted messages cause none. It clears a pending
// error, and reports whether the traffic has ended.
func (o *owner) sleep(t *testing.T, done <-chan error) (ended bool) {
	t.Helper()
	select {
	case err := <-done:
		if err != nil {
			t.Fatal(err)
		}
		return true
	default:
	}
	mask := o.poll(t)
	if mask&unix.POLLERR != 0 {
		o.takeError(t)
	}
	if mask&unix.POLLIN != 0 {
		runtime.Gosched() // a RESERVED frame: its sender needs the CPU
	} else {
		fds := []unix.PollFd{{Fd: int32(o.fd), Events: unix.POLLIN}}
		if _, err := unix.Poll(fds, 5); err != nil && err != unix.EINTR {
			t.Fatal(err)
		}
	}
	woken(o.fd)
	return false
}

// takeError clears the socket's pending error.
func (o *owner) takeError(t *testing.T) {
	t.Helper()
	if errno, err := o.sys.SoError(o.fd); err != nil {
		t.Fatal(err)
	} else if errno == unix.ENOBUFS {
		o.r.CountOverrun()
	}
}

func (c consumed) check(t *testing.T, r ReaderCounters, k ringtest.Stats, sent uint64) {
	t.Helper()
	t.Logf("kernel %+v", k)
	t.Logf("reader %+v", r)
	if k.Attempts != sent || k.Valid+k.Copied+k.Aborted+k.Lost+k.CopyLost != sent {
		t.Errorf("the kernel's counts do not add up to %d", sent)
	}
	if c.messages != k.Valid+k.Copied || c.queued != k.Copied {
		t.Errorf("%d messages arrived, %d of them queued", c.messages, c.queued)
	}
	if r.Valid != k.Valid || r.Copied != k.Copied || r.Aborted != k.Aborted {
		t.Error("the counters of reader and kernel differ")
	}
	// Two errors raised before the first is read count as one.
	if r.Overruns > k.Overruns || (r.Overruns == 0) != (k.Overruns == 0) {
		t.Error("the overruns of reader and kernel differ")
	}
	if r.Oversized+r.UnknownStatus+r.Foreign != 0 {
		t.Error("malformed frames")
	}
	if sent >= 1000 && (k.Copied == 0 || k.Aborted == 0) {
		t.Error("the traffic had no COPY frames or no aborted messages")
	}
}
