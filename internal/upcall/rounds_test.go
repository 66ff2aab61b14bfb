package upcall

import (
	"testing"

	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// TestRounds: a sleeping handler makes a round when nudged; a handler blocked in its policy does
// not until it continues.
func TestRounds(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	stuck, well := newBench(t, k), newBench(t, k)
	handlers := []*Handler{stuck.h, well.h}
	blocked, release := make(chan struct{}), make(chan struct{})
	stuck.policy.hook = func(odp.PortNo, uint64) {
		close(blocked)
		<-release
	}
	_, sock := stuck.port(1, ring16)
	ended := []func(){stuck.start(), well.start()}
	count := func(handler int) uint64 { return handlers[handler].Rounds() }
	grows := func(handler int) func() bool {
		before := count(handler)
		return func() bool {
			for _, h := range handlers {
				h.Wake()
			}
			return count(handler) > before
		}
	}
	for i := range 2 {
		stuck.eventually("a nudged handler goes round", grows(i))
	}

	stuck.deliver(sock, 1, 1, 1, 100)
	<-blocked
	before := count(0)
	for range 50 {
		well.eventually("the other handler goes round", grows(1))
	}
	if count(0) != before {
		t.Error("a blocked handler makes a round")
	}
	close(release)
	stuck.eventually("the handler goes round when it is let go", grows(0))
	for i, h := range handlers {
		h.Stop()
		ended[i]()
	}
}

// TestRelease: a released socket is unchanged.
func TestRelease(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{})
	if err != nil {
		t.Fatal(err)
	}
	ch := NewSocket(sock, NewPort(2, "port2", 0))
	if err := b.h.poller.(*kernelEpoll).Poller.Add(sock.FD(), 0); err != nil {
		t.Fatal(err)
	}
	b.h.slots = append(b.h.slots, ch)
	ch.slot, b.h.owned = 0, b.h.owned+1
	fd, _ := b.h.release(ch)
	if fd < 0 || sock.FD() != -1 || b.h.owned != 0 || b.h.slots[0] != nil {
		t.Fatalf("released descriptor %d; the handler has %d sockets", fd, b.h.owned)
	}
	again, err := netlink.AdoptReceiver(unix.NETLINK_GENERIC, fd, mmapring.State{}, netlink.ReceiverConfig{})
	if err != nil {
		t.Fatal(err)
	}
	if again.PortID() != sock.PortID() {
		t.Errorf("port id %d, before %d", again.PortID(), sock.PortID())
	}
	again.Close()
}

// TestQuietPortComesFirst: while another port floods, an upcall of a quiet port waits for the current
// pass only, and is answered before the next upcalls of the other port.
func TestQuietPortComesFirst(t *testing.T) {
	for _, g := range []mmapring.Geometry{{}, ring512} {
		b := newBench(t, ringtest.New(ringtest.Config{}))
		_, flood := b.port(1, g)
		_, quiet := b.port(2, g)
		b.deliver(flood, 1, 0, 100, 100)
		b.step() // after the first pass port 1 is known to have a backlog
		if b.policy.count() == sharedPass {
			b.policy.hook = func(odp.PortNo, uint64) {
				b.policy.hook = nil
				b.deliver(quiet, 2, 0, 1, 100)
			}
		}
		b.step()
		from, batches := b.policy.count(), b.h.batches.Load()
		b.step()
		if b.policy.order[from] != 2 || b.h.batches.Load() != batches+2 {
			t.Errorf("ring %t: ports %v in %d batches, want port 2 first, in a separate one", g != mmapring.Geometry{},
				b.policy.order[from:],
				b.h.batches.Load()-batches)
		}
	}
}
