package mmapring

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

func TestStateText(t *testing.T) {
	for _, s := range []State{
		{small, 0}, {small, 15}, {small, -1}, {gapped, 5}, {DefaultGeometry(), 6399},
	} {
		got, err := ParseState(s.String())
		if err != nil || got != s {
			t.Errorf("%q: %+v, %v; want %+v", s.String(), got, err, s)
		}
	}
	if s, err := ParseState(""); err != nil || !s.Geometry.IsZero() || (State{}).String() != "" {
		t.Errorf("no state: %+v, %v", s, err)
	}
	for _, bad := range []string{
		"2048/8192/4", "2048/8192/4/16", "2048/8192/4/-1", "2048/8192/4/x", "2047/8192/4/0", "2048/8192/0/0",
		"0/0/0/-", "2048/8192/4/0/", "/8192/4/0", "2048/8192/4/", "99999999999/8192/4/0", "9000/8192/4/0",
	} {
		if s, err := ParseState(bad); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%q: %+v, %v; want EINVAL", bad, s, err)
		}
	}
}

// crash ends the use of the owner's ring like the exit of its process: the memory is unmapped, and
// lent frames stay in use.
func (o *owner) crash(t testing.TB) {
	t.Helper()
	o.m.mu.Lock()
	defer o.m.mu.Unlock()
	if err := o.sys.Munmap(o.m.mem); err != nil {
		t.Fatal(err)
	}
	o.m.mem, o.m.closed, o.r.ring.mem, o.r.lent, o.r.held = nil, true, nil, 0, 0
}

// remap creates the next owner of the socket.
func (o *owner) remap(t testing.TB, s State) Found {
	t.Helper()
	m, found, err := Remap(o.fd, s, o.sys)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		m.Reader().Release(m.Reader().Lent())
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	o.m, o.r = m, m.Reader()
	return found
}

func (o *owner) close(t testing.TB) State {
	t.Helper()
	s := o.r.State()
	if err := o.m.Close(); err != nil {
		t.Fatal(err)
	}
	return s
}

// TestRemapRefuses: a wrong total size, no ring, and setting a ring again are errors.
func TestRemapRefuses(t *testing.T) {
	o, _ := newRX(t, ringtest.Config{}, small)
	o.close(t)
	larger := small
	larger.Blocks++
	for _, s := range []State{{larger, 0}, {State{}.Geometry, 0}, {small, 16}, {Geometry{2046, 8192, 4}, 0}} {
		if _, _, err := Remap(o.fd, s, o.sys); !errors.Is(err, unix.EINVAL) {
			t.Errorf("%+v: %v, want EINVAL", s, err)
		}
	}
	if _, err := Map(o.fd, Config{RX: small, Syscalls: o.sys}); !errors.Is(err, unix.EBUSY) {
		t.Errorf("a second ring: %v, want EBUSY", err)
	}
}

// TestRemap: messages before, between and after two mappings are read once and in order, at
// whatever frame the first stopped.
func TestRemap(t *testing.T) {
	for _, v := range []ringtest.Version{ringtest.V44, ringtest.V41} {
		for first := range uint64(20) {
			for _, between := range []int{0, 1, 9, 16} {
				o, sock := newRX(t, ringtest.Config{Version: v}, small)
				for seq := range first {
					deliver(t, sock, seq, 100)
					o.want(t, seq, Message)
					o.r.Release(1)
				}
				s := o.close(t)
				deliver(t, sock, first, slices.Repeat([]int{300}, between)...)
				found := o.remap(t, s)
				if found != (Found{InUse: between}) {
					t.Errorf("found %+v after %d and %d messages", found, first, between)
				}
				next := first
				for range between {
					o.want(t, next, Message)
					o.r.Release(1)
					next++
				}
				o.wantNone(t, Empty)
				for range 40 {
					deliver(t, sock, next, 80)
					if !o.r.Ready() {
						t.Fatalf("message %d was not read", next)
					}
					o.want(t, next, Message)
					next++
					deliver(t, sock, next, 5000)
					o.want(t, next, Queued)
					next++
					o.r.Release(2)
				}
			}
		}
	}
}

// TestRemapAfterCrash: messages that were lent but not marked are read again, marked ones are
// released unread, and a COPY frame whose message is gone is skipped.
func TestRemapAfterCrash(t *testing.T) {
	for first := range uint64(18) {
		o, sock := newRX(t, ringtest.Config{}, small)
		for seq := range first {
			deliver(t, sock, seq, 100)
			o.want(t, seq, Message)
			o.r.Release(1)
		}
		deliver(t, sock, first, 200, 5000, 200, 200, 6000, 200)
		o.want(t, first, Message)
		o.want(t, first+1, Queued)
		o.want(t, first+2, Message)
		o.r.Mark()
		o.want(t, first+3, Message)
		o.crash(t)
		deliver(t, sock, first+6, 100)
		if found := o.remap(t, State{small, -1}); found != (Found{InUse: 7, Answered: 3}) {
			t.Errorf("found %+v", found)
		}
		o.want(t, first+3, Message)
		o.want(t, first+4, Queued)
		o.want(t, first+5, Message)
		o.want(t, first+6, Message)
		o.wantNone(t, Empty)
		o.r.Release(4)
		if c := o.r.Counters(); c.Answered != 3 || c.Valid != 3 || c.Copied != 1 {
			t.Errorf("counters %+v", c)
		}
		deliver(t, sock, first+7, 100)
		o.want(t, first+7, Message)
		o.r.Release(1)
	}
}

// TestRemapEmpty: in an empty ring no frame shows the kernel's position; the first message does,
// wherever it arrives.
func TestRemapEmpty(t *testing.T) {
	for first := range uint64(17) {
		o, sock := newRX(t, ringtest.Config{}, small)
		for seq := range first {
			deliver(t, sock, seq, 100)
			o.want(t, seq, Message)
			o.r.Release(1)
		}
		o.crash(t)
		if found := o.remap(t, State{small, -1}); found != (Found{}) {
			t.Errorf("found %+v", found)
		}
		o.wantNone(t, Empty)
		deliver(t, sock, first, 100, 9000, 100)
		for i, how := range []Outcome{Message, Queued, Message} {
			o.want(t, first+uint64(i), how)
		}
		o.r.Release(3)
		for seq := first + 3; seq < first+60; seq++ {
			deliver(t, sock, seq, 100)
			if !o.r.Ready() {
				t.Fatalf("message %d was not read", seq)
			}
			o.want(t, seq, Message)
			o.r.Release(1)
		}
	}
}

// TestRemapFull: in a full ring the stored head gives the oldest frame, or a mark does. Without
// both, all messages are read once, and later ones in order.
func TestRemapFull(t *testing.T) {
	const first = 5
	for _, tt := range []struct {
		name    string
		head    int64
		marked  int
		guessed bool
		want    []uint64
	}{
		{"head", first, 0, false, seqs(first, first+16)},
		{"mark", -1, 3, false, seqs(first+3, first+16)},
		// Frame 0 holds message 16.
		{"neither", -1, 0, true, slices.Concat(seqs(16, first+16), seqs(first, 16))},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, sock := newRX(t, ringtest.Config{}, small)
			for seq := range uint64(first) {
				deliver(t, sock, seq, 100)
				o.want(t, seq, Message)
				o.r.Release(1)
			}
			deliver(t, sock, first, slices.Repeat([]int{100}, 16)...)
			for i := range tt.marked {
				o.want(t, first+uint64(i), Message)
			}
			o.r.Mark()
			o.crash(t)
			if found := o.remap(t, State{small, tt.head}); found != (Found{InUse: 16, Answered: tt.marked,
				Guessed: tt.guessed}) {
				t.Errorf("found %+v", found)
			}
			for i, seq := range tt.want {
				o.want(t, seq, Message)
				o.r.Release(1)
				if i == 3 && o.r.State().Head >= 0 && tt.marked == 0 {
					t.Errorf("the head is reported as %d although the full ring has not been read", o.r.State().Head)
				}
			}
			deliver(t, sock, 100, slices.Repeat([]int{100}, 7)...)
			// After a guess the ring was empty: the wake-up reports these.
			if !o.r.Ready() && !tt.guessed {
				t.Error("messages after those of the full ring are not read")
			}
			for i := range uint64(7) {
				o.want(t, 100+i, Message)
			}
			o.wantNone(t, Empty)
			o.r.Release(7)
			if s := o.r.State(); s.Head != int64((first+16+7)%16) {
				t.Errorf("head %d", s.Head)
			}
		})
	}
}

// TestRemapFullWhileTheKernelFills: messages that arrive while a full ring is read are read after
// it, in order.
func TestRemapFullWhileTheKernelFills(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 0, 100, 100, 100, 100, 100)
	for seq := range uint64(5) {
		o.want(t, seq, Message)
	}
	o.r.Release(5)
	deliver(t, sock, 5, slices.Repeat([]int{100}, 16)...)
	o.crash(t)
	o.remap(t, State{small, -1})
	next, got := uint64(21), []uint64{}
	for range 60 {
		p, outcome, err := o.receive()
		if err != nil {
			t.Fatal(err)
		}
		if outcome == Message {
			seq, err := ringtest.Check(p)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, seq)
			o.r.Release(1)
			if next < 40 && sock.Deliver(message(100, next)) == nil {
				next++
			}
		}
	}
	want := slices.Concat(seqs(16, 21), seqs(5, 16), seqs(21, next))
	if !slices.Equal(got, want) {
		t.Errorf("messages %v, want %v", got, want)
	}
}

// TestRemapForgetsOldMarks: an aborted message leaves old words in the frame's header.
func TestRemapForgetsOldMarks(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	for seq := range uint64(16) {
		deliver(t, sock, seq, 100)
		o.want(t, seq, Message)
		o.r.Mark()
		o.r.Release(1)
	}
	p, err := sock.Reserve(100)
	if err != nil {
		t.Fatal(err)
	}
	p.Abort()
	o.crash(t)
	if found := o.remap(t, State{small, -1}); found.Answered != 0 || found.InUse != 1 {
		t.Errorf("found %+v", found)
	}
}

// TestRemapWithoutQueuedMessage: the previous reader had received the message of a COPY frame but
// not recorded it.
func TestRemapWithoutQueuedMessage(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 0, 5000, 100)
	if _, err := o.sys.Recv(o.fd, o.buf); err != nil {
		t.Fatal(err)
	}
	o.crash(t)
	o.remap(t, State{small, -1})
	if _, outcome := o.r.Read(); outcome != Queued {
		t.Fatalf("outcome %d", outcome)
	}
	o.r.Missing()
	o.r.Missing() // once only
	o.want(t, 1, Message)
	deliver(t, sock, 2, 5000)
	o.want(t, 2, Queued)
	o.r.Release(2)
}

// TestRemapAfterReceivedCopy: a message that the previous reader had received from the queue is not
// confused with the next one.
func TestRemapAfterReceivedCopy(t *testing.T) {
	o, sock := newRX(t, ringtest.Config{}, small)
	deliver(t, sock, 0, 100, 5000, 6000)
	o.want(t, 0, Message)
	o.want(t, 1, Queued)
	o.crash(t)
	if found := o.remap(t, State{small, -1}); found != (Found{InUse: 3, Answered: 1}) {
		t.Errorf("found %+v", found)
	}
	o.want(t, 0, Message)
	o.want(t, 2, Queued)
	o.wantNone(t, Empty)
	o.r.Release(2)
}

// seqs returns the numbers from a to before b.
func seqs(a, b uint64) (list []uint64) {
	for ; a < b; a++ {
		list = append(list, a)
	}
	return list
}

// FuzzRemap runs readers one after the other, some of which crash, while the kernel delivers: each
// unmarked message is read once, in order unless a head had to be guessed.
func FuzzRemap(f *testing.F) {
	f.Add(uint64(1), uint16(300), true)
	f.Add(uint64(7), uint16(1000), false)
	f.Add(uint64(99), uint16(2000), true)
	f.Fuzz(func(t *testing.T, seed uint64, steps uint16, v41 bool) {
		cfg := ringtest.Config{}
		if v41 {
			cfg.Version = ringtest.V41
		}
		if err := remapWalk(t, cfg, seed, int(steps%3000)); err != nil {
			t.Error(err)
		}
	})
}

func remapWalk(t *testing.T, cfg ringtest.Config, seed uint64, steps int) error {
	rng := rand.New(rand.NewPCG(seed, 1))
	o, sock := newRX(t, cfg, small)
	var waiting, held []uint64 // not read yet; read but not released; in order
	marked, next := 0, uint64(0)
	guessed := 0 // messages that may arrive out of order
	for range steps {
		switch rng.IntN(12) {
		case 0, 1, 2, 3:
			size := 100
			if rng.IntN(8) == 0 {
				size = 5000
			}
			if before := sock.Stats(); sock.Deliver(message(size, next)) == nil && sock.Stats().CopyLost == before.CopyLost {
				waiting = append(waiting, next)
			}
			next++
		case 4, 5, 6, 7:
			p, outcome, err := o.receive()
			if err != nil {
				return err
			}
			if outcome != Message && outcome != Queued {
				if outcome == Empty && len(waiting) > 0 {
					return fmt.Errorf("nothing to read, %v wait", waiting)
				}
				continue
			}
			seq, err := ringtest.Check(p)
			if err != nil {
				return err
			}
			at := slices.Index(waiting, seq)
			if at < 0 || at > 0 && guessed == 0 {
				return fmt.Errorf("message %d of %v", seq, waiting)
			}
			guessed -= min(guessed, 1)
			waiting = slices.Delete(waiting, at, at+1)
			held = append(held, seq)
			if outcome == Queued && len(held) == marked+1 {
				marked++ // its frame is marked on receipt
			}
		case 8, 9:
			n := rng.IntN(len(held) + 1)
			o.r.Release(n)
			held, marked = held[n:], max(0, marked-n)
		case 10:
			o.r.Mark()
			marked = len(held)
		case 11:
			if rng.IntN(3) > 0 {
				continue
			}
			if len(held) == 0 && o.r.State().Head >= 0 {
				s := o.close(t)
				o.remap(t, s)
				continue
			}
			if o.r.State().Head < 0 || len(held) > marked && copies(sock) {
				continue // a crash during a guess, see State; a COPY frame may be marked out of order
			}
			o.crash(t)
			if found := o.remap(t, State{small, -1}); found.Guessed {
				guessed = found.InUse
			}
			waiting = slices.Concat(held[marked:], waiting)
			held, marked = nil, 0
		}
	}
	return nil
}

// copies reports whether any frame of small is COPY.
func copies(sock *ringtest.Socket) bool {
	for i := range small.Frames() {
		if Status(sock.RX(int(i)).Status) == Copy {
			return true
		}
	}
	return false
}
