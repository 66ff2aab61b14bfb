package upcall

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/epoll"
	"dpifd/internal/event"
	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// ring16 has 16 frames, of which a batch may hold 8.
var ring16 = mmapring.Geometry{FrameSize: 2048, BlockSize: 8192, Blocks: 4}

// ring512 has enough frames that quotas limit a batch before half a ring does.
var ring512 = mmapring.Geometry{FrameSize: 1024, BlockSize: 65536, Blocks: 8}

// emulated is the kernel of handlers' sockets.
type emulated interface {
	netlink.RingKernel
	Lookup(fd int) *ringtest.Socket
	Alive() int
}

// kernelEpoll is the epoll of an emulated kernel. Unless it blocks, a wait without a ready socket
// returns at once, as after a timeout.
type kernelEpoll struct {
	*epoll.Poller
	k        emulated
	blocks   bool
	timeouts []time.Duration // of waits without a ready socket, if it does not block
	idle     func()          // called before it sleeps

	mu       sync.Mutex
	watched  []*watch
	reported int // number of events
}

// watch is a socket in the epoll set.
type watch struct {
	id   uint32
	fd   int
	edge bool
	// For an edge-triggered socket: it was added but not checked yet, and the number of wake-ups
	// seen.
	fresh   bool
	wakeups uint64
}

func (p *kernelEpoll) Add(fd int, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = append(p.watched, &watch{id: id, fd: fd})
	return p.Poller.Add(fd, id)
}

func (p *kernelEpoll) AddEdge(fd int, id uint32) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = append(p.watched, &watch{id: id, fd: fd, edge: true, fresh: true, wakeups: p.k.Lookup(fd).Wakeups()})
	return p.Poller.AddEdge(fd, id)
}

func (p *kernelEpoll) Remove(fd int) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watched = slices.DeleteFunc(p.watched, func(w *watch) bool { return w.fd == fd })
	return p.Poller.Remove(fd)
}

func (p *kernelEpoll) Wait(events []epoll.Event, timeout time.Duration) (int, error) {
	deadline := time.Now().Add(timeout)
	for {
		n := p.look(events)
		var scratch [8]epoll.Event
		switch {
		case n > 0 || timeout == 0:
			_, err := p.Poller.Wait(scratch[:], 0) // consumes the wake-up
			return n, err
		case !p.blocks:
			p.timeouts = append(p.timeouts, timeout)
			return 0, nil
		}
		if p.idle != nil {
			p.idle()
		}
		left := timeout
		if timeout > 0 {
			left = max(0, time.Until(deadline))
		}
		if n, err := p.Poller.Wait(scratch[:], left); n == 0 || err != nil {
			return 0, err
		}
	}
}

func (p *kernelEpoll) look(events []epoll.Event) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, w := range p.watched {
		s := p.k.Lookup(w.fd)
		s.Rest()
		if w.edge {
			wakeups := s.Wakeups()
			due := w.fresh || wakeups != w.wakeups
			if w.fresh, w.wakeups = false, wakeups; !due {
				continue
			}
		}
		// A wake-up whose cause is gone causes no event.
		if level := s.Level(); level != 0 {
			events[n] = epoll.Event{ID: w.id, Err: level&unix.POLLERR != 0}
			n++
		}
	}
	p.reported += n
	return n
}

// notes is a policy that records all packets and forwards them.
type notes struct {
	policy.Policy
	t    testing.TB
	hook func(in odp.PortNo, seq uint64) // called for each packet

	mu    sync.Mutex
	order []odp.PortNo            // in-port of each packet
	got   map[odp.PortNo][]uint64 // numbers of the packets by in-port
}

func (p *notes) Decide(u *dpif.Upcall, _ int64, v *policy.Verdict) {
	seq, err := ringtest.Check(u.Packet)
	if err != nil {
		p.t.Errorf("upcall of port %v: %v", u.InPort, err)
	}
	p.mu.Lock()
	p.order = append(p.order, u.InPort)
	p.got[u.InPort] = append(p.got[u.InPort], seq)
	p.mu.Unlock()
	odp.AppendOutput(&v.Actions, 3)
	if p.hook != nil {
		p.hook(u.InPort, seq)
	}
}

func (p *notes) packets(in odp.PortNo) []uint64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.got[in])
}

func (p *notes) count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.order)
}

// bench is a handler whose upcall sockets belong to an emulated kernel, and whose requests go to
// the running kernel, which skips them.
type bench struct {
	t      testing.TB
	k      emulated
	h      *Handler
	epoll  *kernelEpoll
	policy *notes
	events []event.Event
}

func newBench(t testing.TB, k emulated) *bench {
	t.Helper()
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return newBenchOn(t, k, conn)
}

// newBenchOn returns a bench whose requests go to conn.
func newBenchOn(t testing.TB, k emulated, conn *netlink.Conn) *bench {
	t.Helper()
	b := &bench{t: t, k: k, policy: &notes{t: t, got: map[odp.PortNo][]uint64{}}}
	b.h = newTestHandler(t, conn, b.policy, func(e event.Event) { b.events = append(b.events, e) })
	b.epoll = &kernelEpoll{Poller: b.h.poller.(*epoll.Poller), k: k}
	b.h.poller = b.epoll
	t.Cleanup(func() {
		b.h.Close()
		if n := k.Alive(); n != 0 {
			t.Errorf("%d upcall sockets are left in the kernel", n)
		}
	})
	return b
}

// newTestHandler returns a handler whose requests are netlink control messages, which every kernel
// skips. It owns conn.
func newTestHandler(t testing.TB, conn *netlink.Conn, p policy.Policy, notify event.Sink) *Handler {
	t.Helper()
	h, err := New(Config{Datapath: dpiftest.Datapath(conn), Policy: p, Budget: &places{limit: 1 << 20},
		Hasher: odp.NewMaskedHasher(), Ports: &Table{}, Notify: notify})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// places is a flow budget.
type places struct{ limit, taken, inFlight int64 }

func (b *places) Reserve() bool {
	if b.taken == b.limit {
		return false
	}
	b.taken, b.inFlight = b.taken+1, b.inFlight+1
	return true
}

func (b *places) Sent(n int)  { b.inFlight -= int64(n) }
func (b *places) Release()    { b.taken-- }
func (b *places) Ample() bool { return 2*b.taken <= b.limit }
func (b *places) PutSpoofed() {}

// port opens a port's upcall socket, linear for the zero Geometry, and attaches it to the handler.
func (b *bench) port(no odp.PortNo, g mmapring.Geometry) (*Socket, *ringtest.Socket) {
	b.t.Helper()
	sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{Ring: g, Kernel: b.k})
	if err != nil {
		b.t.Fatal(err)
	}
	ch := NewSocket(sock, NewPort(no, fmt.Sprintf("port%v", no), 0))
	s := b.k.Lookup(sock.FD()) // before a running handler may close it
	if err := b.h.attach(ch); err != nil {
		b.t.Fatal(err)
	}
	return ch, s
}

// upcall builds the miss of packet number seq, of size bytes.
func (b *bench) upcall(in odp.PortNo, seq uint64, size int) []byte {
	packet := make([]byte, size)
	ringtest.Fill(packet, seq)
	return dpiftest.Miss(dpiftest.Key(in), packet)
}

// deliver delivers packets first to first+n-1 to the socket, and returns how many were lost.
func (b *bench) deliver(s *ringtest.Socket, in odp.PortNo, first uint64, n, size int) (lost int) {
	b.t.Helper()
	for i := range uint64(n) {
		if s.Deliver(b.upcall(in, first+i, size)) != nil {
			lost++
		}
	}
	return lost
}

// step runs one round of the handler.
func (b *bench) step() {
	b.t.Helper()
	if err := b.h.wait(); err != nil {
		b.t.Fatal(err)
	}
	b.h.pass()
}

// start runs the handler, with waits that block, and returns a function that waits for its end.
func (b *bench) start() (ended func()) {
	b.epoll.blocks = true
	done := make(chan error, 1)
	go func() { done <- b.h.Run() }()
	return func() {
		b.t.Helper()
		select {
		case err := <-done:
			if err != nil {
				b.t.Error(err)
			}
		case <-time.After(hangs):
			b.t.Fatal("the handler does not end")
		}
	}
}

// hangs is the time after which a test gives up waiting for what should happen at once.
const hangs = 20 * time.Second

func (b *bench) eventually(what string, done func() bool) {
	b.t.Helper()
	for deadline := time.Now().Add(hangs); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			b.t.Fatalf("timeout: %s", what)
		}
	}
}

func (b *bench) wantPackets(in odp.PortNo, want ...uint64) {
	b.t.Helper()
	if got := b.policy.packets(in); !slices.Equal(got, want) {
		b.t.Errorf("port %v: upcalls %v, want %v", in, got, want)
	}
}

// upTo is the numbers from a to b.
func upTo(a, b uint64) (list []uint64) {
	for ; a <= b; a++ {
		list = append(list, a)
	}
	return list
}
