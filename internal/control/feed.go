package control

import (
	"bytes"
	"context"
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

const (
	// DefaultRate is the default maximum of upcalls per second of a feed.
	DefaultRate = 1000
	// maxSnap is the maximum number of bytes copied of a packet.
	maxSnap = 1 << 16
	// feedMemory is the approximate maximum memory of a feed in bytes; feedSlots is the number
	// of small upcalls in it.
	feedMemory = 8 << 20
	feedSlots  = 1024
	// slotMemory is the approximate memory of an upcall without its packet.
	slotMemory = 4 << 10
)

// FeedConfig selects the upcalls of a Feed.
type FeedConfig struct {
	Key, Mask []byte // of a filter, as parsed by odp.Text; nil selects all
	Rate      int    // maximum selected upcalls per second
	Snap      int    // bytes copied of each packet
	// PortName names ports in keys and actions; nil leaves numbers.
	PortName func(odp.PortNo) string
}

// Feed carries upcalls from handlers to one reader. Its capacity is limited; upcalls that
// arrive while it is full, or above its rate, are counted and left out. Offer never waits: the
// queue is Vyukov's bounded queue, where a writer takes a slot by one compare-and-swap and
// publishes it by the slot's sequence number.
type Feed struct {
	cfg      FeedConfig
	interval int64         // nanoseconds an upcall at cfg.Rate
	due      atomic.Int64  // when the rate allows the next, in nanoseconds since start
	dropped  atomic.Uint64 // not yet reported to the reader
	start    time.Time
	slots    []slot
	tail     atomic.Uint64 // next to be written
	head     atomic.Uint64 // next to be read; only the reader changes it
	waiting  atomic.Bool   // the reader waits for wake
	wake     chan struct{}
}

// slot holds one upcall. It is free for the writer with number n when seq is
// n, and full for the reader when seq is n+1.
type slot struct {
	seq                  atomic.Uint64
	at                   time.Time
	port, decision       string
	inPort               odp.PortNo
	packetBytes          int
	install              bool
	key, actions, packet []byte // memory of the slot, reused
}

// NewFeed returns an empty feed. Its memory is allocated as needed.
func NewFeed(cfg FeedConfig) *Feed {
	n := uint64(feedSlots)
	for n > 16 && n*uint64(cfg.Snap+slotMemory) > feedMemory {
		n /= 2
	}
	f := &Feed{cfg: cfg, interval: max(int64(time.Second)/int64(max(cfg.Rate, 1)), 1), start: time.Now(),
		slots: make([]slot, n), wake: make(chan struct{}, 1)}
	for i := range f.slots {
		f.slots[i].seq.Store(uint64(i))
	}
	f.due.Store(-f.saved())
	return f
}

// Offer offers an upcall to the feed, which copies it or leaves it out. It may be called by
// several goroutines at once, never waits, and allocates only while the slots' memory grows.
func (f *Feed) Offer(port string, u *dpif.Upcall, v *policy.Verdict) {
	if f.cfg.Mask != nil && !odp.Selects(u.Key, f.cfg.Key, f.cfg.Mask) {
		return
	}
	now := time.Now()
	if !f.allow(int64(now.Sub(f.start))) || !f.put(now, port, u, v) {
		f.dropped.Add(1)
	}
	if f.waiting.Load() && f.waiting.Swap(false) {
		select {
		case f.wake <- struct{}{}:
		default: // a wake-up is pending
		}
	}
}

// saved is the maximum unused allowance of the rate, in nanoseconds: a second's worth, but not
// more than the slots hold.
func (f *Feed) saved() int64 { return min(int64(time.Second), int64(len(f.slots))*f.interval) }

// allow takes one from the rate's allowance (the generic cell rate algorithm).
func (f *Feed) allow(now int64) bool {
	for {
		due := f.due.Load()
		next := max(due, now-f.saved()) + f.interval
		if next > now {
			return false
		}
		if f.due.CompareAndSwap(due, next) {
			return true
		}
	}
}

// put copies an upcall into the next slot. It returns false if there is none.
func (f *Feed) put(now time.Time, port string, u *dpif.Upcall, v *policy.Verdict) bool {
	for {
		n := f.tail.Load()
		s := &f.slots[n%uint64(len(f.slots))]
		switch seq := s.seq.Load(); {
		case seq < n:
			return false // the reader has not emptied the slot yet
		case seq > n:
			continue // another writer took the slot
		}
		if !f.tail.CompareAndSwap(n, n+1) {
			continue
		}
		s.at, s.port, s.inPort, s.decision, s.install = now, port, u.InPort, v.Reason, v.Install
		s.packetBytes = max(len(u.Packet), int(u.Len))
		s.key = append(s.key[:0], u.Key...)
		s.actions = append(s.actions[:0], v.Actions.Bytes()...)
		s.packet = append(s.packet[:0], u.Packet[:min(len(u.Packet), f.cfg.Snap)]...)
		s.seq.Store(n + 1)
		return true
	}
}

// Ready reports whether Next would return at once.
func (f *Feed) Ready() bool {
	n := f.head.Load()
	return f.slots[n%uint64(len(f.slots))].seq.Load() == n+1 || f.dropped.Load() > 0
}

// Next waits for an upcall. It also returns the number of upcalls left out before it, and nil
// with that number if there is no upcall but some were left out. The error is that of ctx. Only
// one goroutine may call it.
func (f *Feed) Next(ctx context.Context) (u *Upcall, dropped uint64, err error) {
	for {
		if f.Ready() {
			return f.take(), f.dropped.Swap(0), nil
		}
		f.waiting.Store(true)
		if f.Ready() && f.waiting.Swap(false) {
			continue
		}
		select {
		case <-f.wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// take empties the next slot, nil if it is empty.
func (f *Feed) take() *Upcall {
	n := f.head.Load()
	s := &f.slots[n%uint64(len(f.slots))]
	if s.seq.Load() != n+1 {
		return nil
	}
	text := odp.Text{PortName: f.cfg.PortName}
	u := &Upcall{
		Time: s.at, Port: s.port, PortNo: uint32(s.inPort), PacketBytes: s.packetBytes, Decision: s.decision,
		Install: s.install,
		Key:     string(text.AppendKey(nil, s.key, nil)),
		Actions: string(text.AppendActions(nil, s.actions)),
		Packet:  bytes.Clone(s.packet),
	}
	f.head.Store(n + 1)
	s.seq.Store(n + uint64(len(f.slots)))
	return u
}
