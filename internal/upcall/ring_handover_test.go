package upcall

import (
	"errors"
	"slices"
	"testing"

	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// next makes the handler serve a released socket, as the next process does.
func (b *bench) next(no odp.PortNo, fd int, ring mmapring.State) *Socket {
	b.t.Helper()
	sock, err := netlink.AdoptReceiver(unix.NETLINK_GENERIC, fd, ring, netlink.ReceiverConfig{Kernel: b.k})
	if err != nil {
		b.t.Fatal(err)
	}
	ch := NewSocket(sock, NewPort(no, "next", 0))
	if !ch.congested {
		b.t.Error("a ring that was taken over is not polled")
	}
	if err := b.h.attach(ch); err != nil {
		b.t.Fatal(err)
	}
	return ch
}

// TestRingHandOver: messages that are in a ring, arrive during the hand-over, or arrive after it,
// are answered once and in order, COPY messages included.
func TestRingHandOver(t *testing.T) {
	for _, version := range versions {
		t.Run(version.name, func(t *testing.T) {
			b := newBench(t, ringtest.New(ringtest.Config{Version: version.v}))
			ch, s := b.port(1, ring512)
			if ch.congested {
				t.Error("a new ring is polled")
			}
			next := uint64(0)
			deliver := func(n int) {
				t.Helper()
				for range n {
					size := 200
					if next%7 == 3 {
						size = 5000
					}
					if lost := b.deliver(s, 1, next, 1, size); lost != 0 {
						t.Fatalf("packet %d lost", next)
					}
					next++
				}
			}
			for range 20 {
				deliver(90)
				b.step()
				fd, ring := b.h.release(ch)
				if fd < 0 || ring.Head < 0 || ch.FD() != -1 || len(b.h.rings) != 0 || s.Mapped() != 0 {
					t.Fatalf("released descriptor %d, %+v; %d mappings", fd, ring, s.Mapped())
				}
				deliver(40)
				ch = b.next(1, fd, ring)
				if found := ch.Found(); found.InUse != 66 && found.InUse < 40 || found.Answered != 0 || found.Guessed {
					t.Errorf("found %+v", found)
				}
				for ch.Ready() {
					b.step()
				}
			}
			b.wantPackets(1, upTo(0, next-1)...)
			if c := ch.port.Counters(); c.ReceiveErrors != 0 {
				t.Errorf("%d receive errors", c.ReceiveErrors)
			}
		})
	}
}

// TestRingCrash: packets of the batch that was being answered are not answered again; those
// received but not decided are.
func TestRingCrash(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{Memfd: true}))
	ch, s := b.port(1, ring512)
	b.deliver(s, 1, 0, 5, 200)
	b.step()
	b.deliver(s, 1, 5, 30, 200)
	// The batch's requests are sent, but its frames are not released.
	if n := b.h.receive(ch, 10); n != 10 {
		t.Fatalf("received %d", n)
	}
	b.h.in.Mark()
	b.h.receive(ch, 4)
	fd := ch.FD()
	lent := b.h.in
	defer lent.Close() // its frames belong to another mapping by then
	var err error
	if b.h.in, err = netlink.NewBatch(batchSize); err != nil {
		t.Fatal(err)
	}
	_ = b.epoll.Remove(fd)
	b.h.disown(ch)
	again := b.next(1, fd, mmapring.State{Geometry: ring512, Head: -1})
	if found := again.Found(); found != (mmapring.Found{InUse: 30, Answered: 10}) {
		t.Errorf("found %+v", found)
	}
	b.step()
	b.wantPackets(1, slices.Concat(upTo(0, 4), upTo(15, 34))...)
	b.deliver(s, 1, 35, 1, 200)
	b.step()
	if got := b.policy.packets(1); got[len(got)-1] != 35 {
		t.Errorf("packets %v", got)
	}
	// The kernel keeps the socket while it is mapped.
	lent.Release()
	if err := ch.Close(); err != nil && !errors.Is(err, unix.EBADF) {
		t.Error(err)
	}
}

// sendHook is a kernel for request sockets that calls a hook for each send.
type sendHook struct {
	*ringtest.Requests
	sending func()
}

func (k *sendHook) Sendmsg(fd int, msg *unix.Msghdr, flags int) (int, error) {
	k.sending()
	return k.Requests.Sendmsg(fd, msg, flags)
}

// TestRingMarksBeforeSend: frames are marked when their requests are sent, not earlier, and
// released frames keep no mark.
func TestRingMarksBeforeSend(t *testing.T) {
	k := &sendHook{Requests: ringtest.NewRequests(ringtest.Config{})}
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	b := newBenchOn(t, ringtest.New(ringtest.Config{}), conn)
	_, s := b.port(1, ring16)
	marks := func() (n int) {
		for i := range 16 {
			if s.RX(i).GID != 0 {
				n++
			}
		}
		return n
	}
	sends := 0
	k.sending = func() {
		sends++
		if n := marks(); n != 3 {
			t.Errorf("%d of 3 frames are marked when the batch is sent", n)
		}
	}
	b.policy.hook = func(odp.PortNo, uint64) {
		if n := marks(); n != 0 {
			t.Errorf("%d frames are marked before the batch is decided", n)
		}
	}
	for round := range uint64(9) {
		b.deliver(s, 1, 3*round, 3, 200)
		b.step()
	}
	if n := marks(); sends != 9 || n != 0 {
		t.Errorf("%d sends, %d frames are marked still", sends, n)
	}
}
