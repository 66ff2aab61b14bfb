package mmapring

import (
	"testing"

	"golang.org/x/sys/unix"

	"dpifd/internal/mmapring/ringtest"
)

// expected is a message that the kernel has started to deliver, in ring order.
type expected struct {
	seq     uint64
	how     Outcome
	pending *ringtest.Pending // not nil: RESERVED
	aborted bool
}

// model steps kernel and reader on one thread, so that each interleaving of their steps is
// possible, and knows at each step what Read must return.
type model struct {
	t      *testing.T
	o      *owner
	sock   *ringtest.Socket
	queue  []expected
	lent   [][]byte
	seqs   []uint64
	frames int
	full   uint64
}

// FuzzInterleaving interprets its input as steps: two senders that reserve, complete out of order
// and abort, COPY messages, failing recvs, polls, reads and releases.
func FuzzInterleaving(f *testing.F) {
	f.Add(false, []byte{0, 20, 1, 30, 60, 61, 6, 6, 7, 7})                                 // complete in reverse order
	f.Add(true, []byte{0, 40, 2, 60, 61, 3, 6, 9, 6, 6, 7})                                // abort, COPY, failed recv
	f.Add(false, []byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 8, 6, 2}) // overrun
	all := make([]byte, 4000)
	for i := range all {
		all[i] = byte(i*i>>3 ^ i*7 ^ i>>5)
	}
	f.Add(true, all)
	f.Add(false, all)
	f.Fuzz(func(t *testing.T, old bool, steps []byte) {
		cfg := ringtest.Config{}
		if old {
			cfg.Version = ringtest.V41
		}
		o, sock := newRX(t, cfg, small)
		m := &model{t: t, o: o, sock: sock, frames: int(small.Frames())}
		for _, b := range steps {
			m.step(b)
		}
		m.drain()
	})
}

func (m *model) step(b byte) {
	arg := int(b / 10)
	switch b % 10 {
	case 0, 1:
		m.reserve()
	case 2:
		m.copyMessage(3000 + 100*arg)
	case 3:
		m.end(arg, true)
	case 4, 5:
		m.end(arg, false)
	case 6:
		m.read()
	case 7:
		m.release(1 + arg%8)
	case 8:
		m.o.poll(m.t)
	case 9:
		m.sock.FailRecv(unix.EINTR)
	}
}

func (m *model) reserve() {
	p, err := m.sock.Reserve(100)
	if err != nil {
		m.full++
		return
	}
	m.queue = append(m.queue, expected{seq: p.Seq, how: Message, pending: p})
}

func (m *model) copyMessage(size int) {
	before := m.sock.Stats()
	err := m.sock.Queue(func(seq uint64) []byte { return message(size, seq) })
	if err == nil && m.sock.Stats().Copied > before.Copied {
		m.queue = append(m.queue, expected{seq: before.Attempts, how: Queued})
	} else {
		m.full++
	}
}

// end completes or aborts the nth of the reserved frames.
func (m *model) end(n int, abort bool) {
	var open []*expected
	for i := range m.queue {
		if m.queue[i].pending != nil {
			open = append(open, &m.queue[i])
		}
	}
	if len(open) == 0 {
		return
	}
	e := open[n%len(open)]
	if abort {
		e.pending.Abort()
		e.aborted = true
	} else {
		size := 16 + int(e.seq*131%2000)
		ringtest.Fill(e.pending.Room()[:size], e.seq)
		e.pending.Complete(size)
	}
	e.pending = nil
}

func (m *model) read() {
	m.t.Helper()
	p, outcome, err := m.o.receive()
	if err != nil {
		m.t.Fatal(err)
	}
	if outcome == Limit {
		if len(m.lent) == 0 {
			m.t.Fatal("limit with nothing lent")
		}
		return
	}
	for len(m.queue) > 0 && m.queue[0].aborted {
		m.queue = m.queue[1:]
	}
	want := expected{how: Empty}
	if len(m.queue) > 0 {
		if want = m.queue[0]; want.pending != nil {
			want.how = Waiting
		}
	}
	if outcome != want.how {
		m.t.Fatalf("outcome %d, want %d for message %d", outcome, want.how, want.seq)
	}
	if outcome == Empty || outcome == Waiting {
		return
	}
	if seq, err := ringtest.Check(p); err != nil || seq != want.seq {
		m.t.Fatalf("message %d, %v, want %d", seq, err, want.seq)
	}
	m.queue = m.queue[1:]
	if outcome == Queued {
		p = nil
	}
	m.lent, m.seqs = append(m.lent, p), append(m.seqs, want.seq)
}

func (m *model) release(n int) {
	m.t.Helper()
	n = min(n, len(m.lent))
	for i, p := range m.lent[:n] {
		if p == nil {
			continue
		}
		if seq, err := ringtest.Check(p); err != nil || seq != m.seqs[i] {
			m.t.Fatalf("message %d changed while it was lent: %v", m.seqs[i], err)
		}
	}
	m.o.r.Release(n)
	m.lent, m.seqs = m.lent[n:], m.seqs[n:]
	if len(m.lent) != m.o.r.Lent() {
		m.t.Fatalf("%d lent, want %d", m.o.r.Lent(), len(m.lent))
	}
}

// drain completes all pending messages, reads the rest, and checks that the ring is free and that
// every message arrived or was counted as lost.
func (m *model) drain() {
	m.t.Helper()
	for range 2 * m.frames {
		m.end(0, false)
	}
	for range 4 * m.frames {
		m.read()
		m.release(8)
	}
	if len(m.queue) != 0 {
		m.t.Errorf("%d messages did not arrive", len(m.queue))
	}
	for i, s := range statuses(m.sock, m.frames) {
		if s != Unused {
			m.t.Errorf("frame %d is %v at the end", i, s)
		}
	}
	st, c := m.sock.Stats(), m.o.r.Counters()
	if c.Valid != st.Valid || c.Copied != st.Copied || c.Aborted != st.Aborted ||
		st.Attempts != c.Valid+c.Copied+c.Aborted+m.full {
		m.t.Errorf("kernel %+v, reader %+v, %d lost", st, c, m.full)
	}
}
