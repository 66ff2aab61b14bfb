package dpif

import (
	"fmt"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// TestRingMoveLosesNothing: with traffic of all ports under way their packets
// arrive in order while rings move, and counters go on.
func TestRingMoveLosesNothing(t *testing.T) {
	b := newShareBench(t, ring512, 2)
	all := b.ports(4)
	stop := b.start()
	b.look()
	var senders sync.WaitGroup
	quit := make(chan struct{})
	sent := make([]uint64, len(all))
	for i, ch := range all {
		senders.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
				}
				if ch.upcalls.Load()+64 < sent[i] {
					time.Sleep(50 * time.Microsecond) // the receiver's turn
					continue
				}
				if !b.send(ch.no, sent[i], 16+int(sent[i]%1500)) {
					t.Errorf("packet %d of port %v was lost", sent[i], ch.no)
					return
				}
				sent[i]++
			}
		})
	}
	more := func(n uint64) {
		from := b.policy.count()
		b.eventually("traffic goes on", func() bool { return b.policy.count() >= from+int(n) })
	}
	// Claims decide, so that the traffic may be what it is.
	move := func(from, to *channel) {
		m := ringMove{ch: from, due: b.now + b.s.share.grace, to: to}
		if err := b.s.takeRing(from); err != nil {
			t.Error(err)
		}
		b.s.share.moves = append(b.s.share.moves, m)
		more(300)
		b.pass()
		more(300)
		b.pass()
	}
	for range 3 {
		move(all[0], all[2])
		move(all[1], all[3])
		move(all[2], all[0])
		move(all[3], all[1])
	}
	close(quit)
	senders.Wait()
	b.h.stop()
	stop()
	b.wantRings("all moved back", 1, 2)
	for i, ch := range all {
		b.wantPackets(ch.no, upTo(0, sent[i]-1)...)
		c := ch.counters()
		if c.Upcalls != sent[i] || c.Socket.ReceivedRing+c.Socket.ReceivedCopy+c.Socket.ReceivedLinear != sent[i] || c.Socket.ReceivedRing == 0 || c.Socket.ReceivedLinear == 0 {
			t.Errorf("port %v: %d upcalls, socket %+v; %d were sent", ch.no, c.Upcalls, c.Socket, sent[i])
		}
	}
}

// TestRingMoveOldSocketFirst: what is queued on a port's former socket, however
// much, comes before what is on its new one; and who had read the PID before
// it was changed is heard until the end of the grace period.
func TestRingMoveOldSocketFirst(t *testing.T) {
	b := newShareBench(t, ring512, 1)
	all := b.ports(2)
	b.look()
	olds := [2]*ringtest.Socket{b.k.Lookup(int(all[0].portID())), b.k.Lookup(int(all[1].portID()))}
	for i := range uint64(200) {
		b.send(1, i, 100)
		b.send(2, i, 100)
	}
	b.vports.change = func(no odp.PortNo) {
		if !b.send(no, 200, 9000) || !b.send(no, 201, 50) {
			t.Errorf("port %v: the new socket takes nothing", no)
		}
	}
	stop := b.start()
	for i, ch := range all {
		if i == 0 {
			b.look(0, 500) // takes the ring of port 1
		} else {
			b.pass() // gives one to port 2
		}
		b.eventually("upcalls of both sockets", func() bool { return len(b.policy.packets(ch.no)) == 202 })
		b.wantPackets(ch.no, upTo(0, 201)...)
		if olds[i].Deliver(b.upcall(ch.no, 202, 70)) != nil {
			t.Errorf("port %v: the former socket takes nothing", ch.no)
		}
		b.eventually("an upcall to the former socket", func() bool { return len(b.policy.packets(ch.no)) == 203 })
		b.eventually("it is counted for the port", func() bool { return ch.executed.Load() == 203 })
		// One that comes last of all is answered before the socket is closed.
		olds[i].Deliver(b.upcall(ch.no, 203, 70))
	}
	b.graceOver()
	b.h.stop()
	stop()
	for _, ch := range all {
		b.wantPackets(ch.no, upTo(0, 203)...)
	}
	b.wantRings("the ring has moved", 2)
	if n := b.k.Alive(); olds[0].Mapped() != 0 || n != 0 {
		t.Errorf("%d mappings of the former ring, %d sockets left", olds[0].Mapped(), n)
	}
}

// TestRingMovePortRemoved: either port may go while a ring is on its way.
func TestRingMovePortRemoved(t *testing.T) {
	for _, tt := range []struct {
		name  string
		gone  int
		rings []odp.PortNo
		said  []string
	}{
		{"who had it", 0, []odp.PortNo{2}, []string{"dpif.PortRemoved", "moved port1 0 to port2 500 in 1s"}},
		{"who was to have it", 1, []odp.PortNo{1}, []string{"dpif.PortRemoved", "granted port1 7"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newShareBench(t, ring16, 1)
			all := b.ports(3)
			stop := b.start()
			b.look()
			b.look(0, 500, 3)
			b.wantRings("on its way")
			for i := range uint64(5) {
				b.send(all[tt.gone].no, i, 100)
			}
			b.s.drop(all[tt.gone])
			if all[tt.gone].former != nil || tt.gone == 0 && b.k.mapped != 0 {
				t.Errorf("a former socket is left, %d bytes are mapped", b.k.mapped)
			}
			b.wantPackets(all[tt.gone].no, 0, 1, 2, 3, 4)
			if tt.gone == 1 {
				b.h.do(func() { b.add(2) }) // another port of that number, which is no part of this
			}
			b.graceOver()
			all[0].upcalls.Add(7)
			b.look()
			b.graceOver()
			b.wantRings("in the end", tt.rings...)
			b.wantSaid(tt.said...)
			b.h.stop()
			stop()
			if n := b.k.Alive(); n != 0 {
				t.Errorf("%d sockets left", n)
			}
		})
	}
}

// TestRingMoveRefused: what cannot be done leaves both ports as they are.
func TestRingMoveRefused(t *testing.T) {
	for _, tt := range []struct {
		name  string
		begin func(*shareBench)
		said  []string
	}{
		{"port 1 has just gone", func(b *shareBench) { b.vports.refuse = func(odp.PortNo) unix.Errno { return unix.ENODEV } }, nil},
		{"the kernel refuses the PID", func(b *shareBench) { b.vports.refuse = func(odp.PortNo) unix.Errno { return unix.EPERM } },
			[]string{"operation not permitted"}},
		{"the handler has no room", func(b *shareBench) { b.h.poller.(*fullEpoll).full = true }, []string{"no space left"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b := newShareBench(t, ring16, 1)
			all := b.ports(2)
			b.h.poller = &fullEpoll{poller: b.h.poller}
			pid, sockets := all[0].portID(), b.k.Alive()
			b.look()
			first := true
			b.vports.change = func(no odp.PortNo) {
				if first {
					b.send(no, 1, 100)
				}
				first = false
			}
			b.send(1, 0, 100)
			tt.begin(b)
			stop := b.start()
			b.look(0, 500)
			b.wantRings("refused", 1)
			if all[0].portID() != pid || b.vports.pids[1] != pid || b.k.Alive() != sockets || all[0].former != nil {
				t.Errorf("PID %d, the kernel's %d, was %d; %d sockets, were %d", all[0].portID(), b.vports.pids[1], pid, b.k.Alive(), sockets)
			}
			if len(*b.said) != len(tt.said) || len(tt.said) > 0 && !strings.Contains(fmt.Sprint((*b.said)[0]), tt.said[0]) {
				t.Errorf("events %v, want %q", *b.said, tt.said)
			}
			b.send(1, 2, 100)
			b.eventually("upcalls of the port", func() bool { return slices.Contains(b.policy.packets(1), 2) })
			if got := b.policy.packets(1); !slices.Equal(got, []uint64{0, 1, 2}) && !slices.Equal(got, []uint64{0, 2}) || tt.name == "the handler has no room" && len(got) != 3 {
				t.Errorf("upcalls %v", got)
			}
			b.h.stop()
			stop()
		})
	}
}

// TestRingMoveCounters: drops of both sockets count, those of the ring as such,
// during the grace period and after.
func TestRingMoveCounters(t *testing.T) {
	b := newShareBench(t, ring16, 1)
	all := b.ports(2)
	b.look()
	for i := range uint64(20) {
		b.send(1, i, 100)
	}
	stop := b.start()
	b.eventually("the ring is answered", func() bool { return b.policy.count() == 16 })
	before := all[0].counters()
	check := func(when string) {
		t.Helper()
		b.s.noteDrops()
		b.s.mu.Lock()
		c := all[0].counters()
		b.s.mu.Unlock()
		if c != before || c.SocketDrops != 1 || c.RingDrops != 1 || c.Upcalls != 16 {
			t.Errorf("%s: counters %+v, before %+v", when, c, before)
		}
	}
	check("before")
	b.look(0, 500)
	check("in the grace period")
	b.s.mu.Lock()
	if got := all[0].stats(0); got.Transport != netlink.Linear || got.UpcallPID != b.vports.pids[1] {
		t.Errorf("statistics %+v", got)
	}
	b.s.mu.Unlock()
	b.graceOver()
	check("after it")
	b.h.stop()
	stop()
}

// TestRingMoveHandOver: a former socket is no port's: neither is it handed over,
// nor does it have its port's upcalls turned off.
func TestRingMoveHandOver(t *testing.T) {
	b := newShareBench(t, ring16, 1)
	b.ports(3)
	stop := b.start()
	b.look()
	b.look(0, 500)
	others, _ := b.s.leave()
	if len(others) != 0 || len(b.s.left) != 3 {
		t.Errorf("ports %v are left behind, %d sockets handed over; all are linear at the moment", others, len(b.s.left))
	}
	b.h.stop()
	stop()
	for _, d := range b.s.left {
		if err := b.k.Close(d.FD); err != nil {
			t.Error(err)
		}
	}
}

// TestRingMoveStore: the store has the linear sockets that upcalls go to, and
// no others.
func TestRingMoveStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	if err := manager.SetReadDeadline(time.Now().Add(hangs)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	t.Setenv("FDSTORE", "8")
	b := newShareBench(t, ring16, 1)
	all := b.ports(2)
	if b.s.cfg.Store, err = fdstore.Open(); err != nil || b.s.cfg.Store == nil {
		t.Fatal(b.s.cfg.Store, err)
	}
	defer b.s.cfg.Store.Close()
	next := func() string {
		t.Helper()
		buf := make([]byte, 512)
		n, err := manager.Read(buf)
		if err != nil {
			t.Fatal(err)
		}
		return string(buf[:n])
	}
	stop := b.start()
	for _, ch := range all {
		b.s.keep(ch)
	}
	former := fdstore.Name("port2", all[1].portID())
	b.look()
	b.look(0, 500)
	b.graceOver()
	for _, want := range []string{
		"FDSTORE=1\nFDPOLL=0\nFDNAME=" + former,
		"FDSTORE=1\nFDPOLL=0\nFDNAME=" + fdstore.Name("port1", all[0].portID()),
		"FDSTOREREMOVE=1\nFDNAME=" + former,
	} {
		if got := next(); got != want {
			t.Errorf("the store was told %q, want %q", got, want)
		}
	}
	if b.s.kept != 1 || all[0].stored == "" || all[1].stored != "" {
		t.Errorf("%d sockets are in the store, as %q and %q", b.s.kept, all[0].stored, all[1].stored)
	}
	b.h.stop()
	stop()
}
