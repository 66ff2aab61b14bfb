package dpif

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// TestRingShareRanking: which ports change places after one look.
func TestRingShareRanking(t *testing.T) {
	for _, tt := range []struct {
		name    string
		rings   int
		upcalls []uint64 // of ports 1, 2, ...
		want    []string
	}{
		{"busiest for least busy", 2, []uint64{300, 40, 150, 900}, []string{"moved port2 40 to port4 900 in 1s"}},
		{"twice as many", 1, []uint64{50, 100}, []string{"moved port1 50 to port2 100 in 1s"}},
		{"less than twice as many", 1, []uint64{51, 101}, nil},
		{"too few to matter", 1, []uint64{0, 99}, nil},
		{"nothing at all", 2, []uint64{0, 0, 0, 0}, nil},
		{"ports with rings are busier", 2, []uint64{5000, 1000, 900, 800}, nil},
		{"several", 3, []uint64{10, 2000, 30, 500, 100, 400}, []string{"moved port1 10 to port4 500 in 1s", "moved port3 30 to port6 400 in 1s"}},
		{"no more than so many", 5, []uint64{0, 0, 0, 0, 0, 900, 900, 900, 900, 900}, []string{
			"moved port5 0 to port6 900 in 1s", "moved port4 0 to port7 900 in 1s", "moved port3 0 to port8 900 in 1s", "moved port2 0 to port9 900 in 1s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newShareBench(t, ring16, tt.rings)
			all := b.ports(len(tt.upcalls))
			stop := b.start()
			// What was before the first look does not count.
			all[0].upcalls.Add(1 << 40)
			b.look()
			b.look(tt.upcalls...)
			b.graceOver()
			b.wantSaid(tt.want...)
			if n := len(b.withRing()); n != tt.rings {
				t.Errorf("%d ports have rings, want %d", n, tt.rings)
			}
			b.h.stop()
			stop()
		})
	}
}

// TestRingShareDoesNotFlap: who gained or lost a ring keeps what it has for some
// looks, and ports that are as busy as others change nothing.
func TestRingShareDoesNotFlap(t *testing.T) {
	b := newShareBench(t, ring16, 1)
	b.ports(2)
	stop := b.start()
	b.look()
	b.look(0, 1000)
	b.graceOver()
	b.wantRings("the first was idle", 2)
	looks := 0
	for ; slices.Equal(b.withRing(), []odp.PortNo{2}) && looks < 100; looks++ {
		b.look(1000, 0)
		b.graceOver()
	}
	if looks != restLooks {
		t.Errorf("the ring moved back after %d looks, want %d", looks, restLooks)
	}
	b.wantSaid("moved port1 0 to port2 1000 in 1s", "moved port2 0 to port1 1000 in 1s")
	for i := range uint64(20) {
		b.look(1000+700*(i%2), 1700-700*(i%2))
		b.graceOver()
	}
	b.wantSaid()
	b.h.stop()
	stop()
}

// TestRingShareSleeps: without a port that waits for a ring nobody is woken.
func TestRingShareSleeps(t *testing.T) {
	b := newShareBench(t, ring16, 2)
	b.ports(2)
	if d := b.s.untilShare(b.now); d >= 0 {
		t.Errorf("the port poll wakes after %v, though all ports have rings", d)
	}
	b.s.noRings = unix.ENOPROTOOPT
	b.add(3)
	if d := b.s.untilShare(b.now); d >= 0 {
		t.Errorf("the port poll wakes after %v, though there are no rings", d)
	}
	b.s.noRings = nil
	stop := b.start()
	for _, step := range []struct {
		what string
		do   func()
		want time.Duration
	}{
		{"a port is denied", func() {}, 0},
		{"ports were counted", func() { b.look() }, time.Second},
		{"a ring was taken", func() { b.look(0, 500, 500) }, time.Second / 4},
		{"time passes", func() { b.now += time.Second / 8 }, time.Second / 8},
		{"it was given", func() { b.pass() }, time.Second / 4},
		{"the move is over", func() { b.pass() }, time.Second - time.Second/8 - time.Second/2},
		{"the denied port has gone", func() { b.s.drop(b.s.channels[1]) }, -1},
	} {
		step.do()
		if got := b.s.untilShare(b.now); got != step.want {
			t.Errorf("%s: the port poll may sleep %v, want %v", step.what, got, step.want)
		}
	}
	b.h.stop()
	stop()
}

// TestRingShareFreeMemory: the ring of a port that goes is for the busiest one
// that was denied.
func TestRingShareFreeMemory(t *testing.T) {
	b := newShareBench(t, ring16, 2)
	all := b.ports(5)
	stop := b.start()
	b.look()
	b.s.drop(all[0])
	b.wantRings("port 1 has gone", 2)
	all[3].upcalls.Add(3)
	b.look()
	b.graceOver()
	b.wantRings("there was memory", 2, 4)
	b.wantSaid("dpif.PortRemoved", "granted port4 3")
	if c := all[3].claim; c.wanted || !all[2].claim.wanted || all[3].reason != "there is memory for a ring again" {
		t.Errorf("port 4: %+v, %q", c, all[3].reason)
	}
	b.h.stop()
	stop()
}

// TestRingShareNoMemory: a port whose ring cannot be had is served on without,
// and attempts become rare.
func TestRingShareNoMemory(t *testing.T) {
	b := newShareBench(t, ring16, 1)
	b.ports(2)
	stop := b.start()
	b.look()
	b.look(0, 500)
	b.k.refuseMmap(unix.ENOMEM)
	b.graceOver()
	if b.s.ringBytes != 0 || b.k.mapped != 0 {
		t.Errorf("%d bytes counted, %d mapped", b.s.ringBytes, b.k.mapped)
	}
	for no := range odp.PortNo(2) {
		if !b.send(no+1, 0, 200) {
			t.Errorf("port %v has no socket", no+1)
		}
	}
	b.eventually("upcalls of both ports", func() bool { return b.policy.count() == 2 })
	denied := 0
	for range 200 {
		b.look()
		denied = len(*b.said)
	}
	if denied < 5 || denied > 12 {
		t.Errorf("%d events in 200 looks", denied)
	}
	for _, e := range *b.said {
		if d, ok := e.(RingDenied); ok && !errors.Is(d.Err, unix.ENOMEM) {
			t.Errorf("event %+v", d)
		}
	}
	*b.said = nil
	b.k.refuseMmap(0)
	for range 1 << maxShareBackoff {
		b.look()
	}
	b.graceOver()
	if n := len(b.withRing()); n != 1 || b.s.share.failures != 0 {
		t.Errorf("%d rings when there is memory again, %d failures", n, b.s.share.failures)
	}
	b.h.stop()
	stop()
}
