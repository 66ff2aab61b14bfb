package upcall

import (
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"
)

// TestRingTXGivenUp: a handler whose TX ring does not send reports it once and loses nothing.
func TestRingTXGivenUp(t *testing.T) {
	requests := ringtest.NewRequests(ringtest.Config{TX: ringtest.TXBroken})
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{TXRing: ring16, Kernel: requests})
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, ringtest.New(ringtest.Config{}), conn)
	_, s := b.port(1, ring16)
	if got := b.h.Transport(); got != netlink.Ring {
		t.Fatalf("transport of requests is %v", got)
	}
	for round := range 3 {
		b.deliver(s, 1, uint64(10*round), 6, 500)
		b.step()
	}
	b.wantPackets(1, slices.Concat(upTo(0, 5), upTo(10, 15), upTo(20, 25))...)
	if len(b.events) != 1 {
		t.Fatalf("events %v", b.events)
	}
	if e, ok := b.events[0].(TXRingGivenUp); !ok || !errors.Is(e.Err, mmapring.ErrBroken) {
		t.Errorf("event %+v", b.events[0])
	}
	messages := 0
	for _, sent := range requests.Sent() {
		for d := sent.Data; len(d) > 0; messages++ {
			if _, _, d, err = netlink.SplitMessage(d); err != nil {
				t.Fatal(err)
			}
		}
	}
	if messages != 18 || conn.Counters().SentLinear != 18 {
		t.Errorf("%d requests for 18 upcalls", messages)
	}
}

// TestRingPortRemoved: the frames in the ring of a removed port are answered; then nothing of the
// port remains.
func TestRingPortRemoved(t *testing.T) {
	k := ringtest.New(ringtest.Config{})
	b := newBench(t, k)
	b.port(2, ring16)
	ch, sock := b.port(1, ring16)

	// The handler is busy with the first upcall until the port is being detached and the other
	// upcalls have arrived.
	busy, goOn := make(chan struct{}), make(chan struct{})
	b.policy.hook = func(_ odp.PortNo, seq uint64) {
		if seq == 0 {
			close(busy)
			<-goOn
		}
	}
	b.deliver(sock, 1, 0, 1, 333)
	ended := b.start()
	<-busy
	b.deliver(sock, 1, 1, 1, 9000)
	b.deliver(sock, 1, 2, 13, 100)
	p, err := sock.Reserve(100)
	if err != nil {
		t.Fatal(err)
	}
	p.Abort()
	detached := make(chan PortCounters)
	go func() { detached <- b.h.Detach(ch) }()
	b.eventually("the port is being dropped", func() bool { return b.h.called.Load() })
	close(goOn)
	last := <-detached
	b.wantPackets(1, upTo(0, 14)...)
	if sock.Mapped() != 0 || k.Alive() != 1 {
		t.Errorf("%d mappings, %d sockets", sock.Mapped(), k.Alive())
	}
	if last.Upcalls != 15 || last.Socket.ReceivedCopy != 1 {
		t.Errorf("last counters %+v", last)
	}
	b.h.Stop()
	ended()
}

// TestRingPortRemovedWithMalformedFrames: malformed frames do not keep the memory mapped.
func TestRingPortRemovedWithMalformedFrames(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	ch, s := b.port(1, ring16)
	for range 5 {
		if err := s.Deliver([]byte{1, 2, 3}); err != nil {
			t.Fatal(err)
		}
	}
	b.h.detach(ch)
	if s.Mapped() != 0 || b.k.Alive() != 0 {
		t.Errorf("%d mappings, %d sockets left", s.Mapped(), b.k.Alive())
	}
}
