package netlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"unsafe"

	"dpifd/internal/mmapring"
	"dpifd/internal/mmapring/ringtest"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// Message types with a known result in the running kernel: control messages are skipped, and no
// family has the last number.
const (
	typeSkipped = unix.NLMSG_MIN_TYPE - 3
	typeUnknown = 0xfff7
)

const (
	txFrames = 16   // of testRing
	txRoom   = 1000 // of its frames
)

// txConn dials with a TX ring of an emulated kernel.
func txConn(t testing.TB, cfg ringtest.Config) (*Conn, *ringtest.Requests, *ringtest.Socket) {
	t.Helper()
	k := ringtest.NewRequests(cfg)
	c := dial(t, unix.NETLINK_GENERIC, Config{TXRing: testRing, Kernel: k})
	if c.RingError() != nil || c.Transport() != Ring {
		t.Fatalf("transport %v, %v", c.Transport(), c.RingError())
	}
	return c, k, k.Lookup(c.FD())
}

// request is a message to send: its number and its size with header and without padding. Most of it
// is gathered.
type request struct {
	id, size int
	typ      uint16
}

// requests returns numbered messages with the given sizes.
func requests(first int, sizes ...int) (list []request) {
	for i, n := range sizes {
		list = append(list, request{first + i, n, typeSkipped})
	}
	return list
}

// overhead is the size of the smallest request: the header, its number, the length of its body and
// the header of the gathered attribute.
const overhead = headerLen + 4 + 4 + 4

func fillBatch(b *SendBatch, list []request) {
	b.Reset()
	for _, q := range list {
		body := pattern(q.id, q.size-overhead)
		half := len(body) / 4 &^ 3
		e := b.Begin(q.typ, 0)
		e.RawUint32(uint32(q.id))
		e.RawUint32(uint32(len(body)))
		e.Raw(body[:half]...)
		b.Gather(3, body[half:])
		b.End()
	}
}

// arrived is a message that the kernel received.
type arrived struct {
	id   int
	ring bool
}

// taken checks the contents of the received messages, and returns them in order.
func taken(t *testing.T, k *ringtest.Requests, port uint32) (list []arrived) {
	t.Helper()
	return contents(t, k.Sent(), port)
}

func contents(t *testing.T, sent []ringtest.Sent, port uint32) (list []arrived) {
	t.Helper()
	for _, s := range sent {
		for b := s.Data; len(b) > 0; {
			h, payload, rest, err := SplitMessage(b)
			if err != nil {
				t.Fatal(err)
			}
			id := int(binary.NativeEndian.Uint32(payload))
			body := pattern(id, int(binary.NativeEndian.Uint32(payload[4:])))
			half := len(body) / 4 &^ 3
			if want := slices.Concat(body[:half], attr(3, body[half:]...)); !bytes.Equal(payload[8:], want) ||
				h.PortID != port || h.Flags != unix.NLM_F_REQUEST {
				t.Fatalf("message %d arrived as %+v, %d bytes", id, h, len(payload))
			}
			list, b = append(list, arrived{id, s.Ring}), rest
		}
	}
	return list
}

// wantPacked checks that no frame has room for the first message of the next one.
func wantPacked(t *testing.T, sent []ringtest.Sent) {
	t.Helper()
	for i, s := range sent[1:] {
		first := int(binary.NativeEndian.Uint32(s.Data))
		if before := sent[i]; before.Ring && s.Ring && len(before.Data)+first <= txRoom {
			t.Errorf("a frame has %d bytes of %d, and the first message after it %d", len(before.Data), txRoom, first)
		}
	}
}

// refusing returns a function that rejects each frame with a listed message.
func refusing(list map[int]unix.Errno) func(frame []byte) unix.Errno {
	return func(frame []byte) unix.Errno {
		for len(frame) > 0 {
			_, payload, rest, err := SplitMessage(frame)
			if err != nil {
				return unix.EBADMSG
			}
			if errno := list[int(binary.NativeEndian.Uint32(payload))]; errno != 0 {
				return errno
			}
			frame = rest
		}
		return 0
	}
}

func ids(list []arrived) (out []int) {
	for _, a := range list {
		out = append(out, a.id)
	}
	return out
}

func rings(list []arrived) (n int) {
	for _, a := range list {
		if a.ring {
			n++
		}
	}
	return n
}

func noneFails(t *testing.T) func(int, unix.Errno) {
	return func(i int, errno unix.Errno) { t.Errorf("message %d failed: %v", i, errno) }
}

func repeat(n, size int) []int { return slices.Repeat([]int{size}, n) }

func TestTXRingKeepsOrder(t *testing.T) {
	for _, tt := range []struct {
		name   string
		mode   ringtest.TXMode
		sizes  []int
		ring   int // messages sent by the ring
		before func(c *Conn, s *ringtest.Socket)
	}{
		{name: "frames", sizes: []int{overhead + 1, txRoom, 501, 37, 999, 702}, ring: 6},
		{name: "one too large", sizes: []int{100, 203, txRoom + 1, 302, 400}, ring: 4},
		{name: "too large at both ends", sizes: []int{5000, 200, 60, 60_000}, ring: 2},
		{name: "all too large", sizes: []int{1400, 2000, 1004}, ring: 0},
		{name: "several in a frame", sizes: repeat(50, 88), ring: 50},
		{name: "as many as frames", sizes: repeat(txFrames, 600), ring: txFrames},
		{name: "more than frames", sizes: repeat(3*txFrames, 600), ring: -1},
		{name: "in place", mode: ringtest.TXInPlace, sizes: repeat(txFrames+5, 600), ring: txFrames},
		{name: "several in place", mode: ringtest.TXInPlace, sizes: repeat(txFrames*11+5, 88), ring: txFrames * 11},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, k, s := txConn(t, ringtest.Config{TX: tt.mode})
			var b SendBatch
			for round := range 3 { // frames are reused, wherever the head is
				list := requests(100*round, tt.sizes...)
				fillBatch(&b, list)
				if err := c.Send(&b, noneFails(t)); err != nil {
					t.Fatal(err)
				}
				sent := k.Sent()
				wantPacked(t, sent)
				got := contents(t, sent, c.PortID())
				want := make([]int, len(list))
				for i := range want {
					want[i] = 100*round + i
				}
				if !slices.Equal(ids(got), want) {
					t.Fatalf("arrived %v, want %v", ids(got), want)
				}
				if n := rings(got); tt.ring >= 0 && n != tt.ring || n < min(txFrames, max(tt.ring, 0)) {
					t.Errorf("%d messages were sent through the ring, want %d", n, tt.ring)
				}
				s.FinishTX()
			}
			cn := c.Counters()
			if cn.SentRing+cn.SentLinear != uint64(3*len(tt.sizes)) || tt.ring >= 0 && cn.SentRing != uint64(3*tt.ring) {
				t.Errorf("counters: %d by ring, %d linear", cn.SentRing, cn.SentLinear)
			}
			if c.Transport() != Ring || c.RingError() != nil {
				t.Errorf("transport %v, %v", c.Transport(), c.RingError())
			}
		})
	}
}

// TestTXRingInWork: while the kernel still uses all frames, messages are sent linear, and by the
// ring again once frames are free (Linux 3.x).
func TestTXRingInWork(t *testing.T) {
	c, k, s := txConn(t, ringtest.Config{TX: ringtest.TXInPlace})
	var b SendBatch
	send := func(first, wantRing int) {
		t.Helper()
		fillBatch(&b, requests(first, repeat(10, 600)...))
		if err := c.Send(&b, noneFails(t)); err != nil {
			t.Fatal(err)
		}
		got := taken(t, k, c.PortID())
		if len(got) != 10 || rings(got) != wantRing || !slices.IsSorted(ids(got)) {
			t.Errorf("arrived %v, want 10 in order, %d of them by the ring", got, wantRing)
		}
	}
	send(0, 10)
	send(10, 6)
	send(20, 0)
	s.FinishTX()
	send(30, 10)
}

func TestTXRingThatDoesNotSend(t *testing.T) {
	c, k, s := txConn(t, ringtest.Config{TX: ringtest.TXBroken})
	var b SendBatch
	for round := range 2 {
		fillBatch(&b, requests(50*round, 60, 72, txRoom+400, 92, 100))
		if err := c.Send(&b, noneFails(t)); err != nil {
			t.Fatal(err)
		}
		got := taken(t, k, c.PortID())
		first := 50 * round
		if want := []int{first, first + 1, first + 2, first + 3, first + 4}; !slices.Equal(ids(got), want) ||
			rings(got) != 0 {
			t.Errorf("arrived %v, want %v, linear", got, want)
		}
		if c.Transport() != Linear || !errors.Is(c.RingError(), mmapring.ErrBroken) {
			t.Errorf("transport %v, %v; want linear permanently", c.Transport(), c.RingError())
		}
	}
	if s.Mapped() != 0 {
		t.Error("the ring is still mapped")
	}
	if cn := c.Counters(); cn.SentLinear != 10 || cn.SentRing != 0 {
		t.Errorf("counters %+v", cn)
	}
}

// TestTXRingReportsRefusals: errors of the send call and of the kernel's answers are reported with
// their position in the batch.
func TestTXRingReportsRefusals(t *testing.T) {
	c, k, _ := txConn(t, ringtest.Config{})
	refused := map[int]unix.Errno{2: unix.ECONNREFUSED, 5: unix.EPERM, 11: unix.ENOBUFS}
	k.Refuse = refusing(refused)
	// Frames of 0 and 1, 2 and 3, 5 and 6, 7, 9 and 10, 11 and 12.
	list := requests(0, 480, 484, 488, 492, 2000, 496, 500, 504, 3000, 400, 404, 408, 412)
	list[1].typ, list[4].typ, list[10].typ = typeUnknown, typeUnknown, typeUnknown
	var b SendBatch
	for range 2 {
		fillBatch(&b, list)
		got := map[int]unix.Errno{}
		err := c.Send(&b, func(i int, errno unix.Errno) {
			if got[i] != 0 {
				t.Errorf("message %d is reported twice", i)
			}
			got[i] = errno
		})
		if err != nil {
			t.Fatal(err)
		}
		want := map[int]unix.Errno{
			1: unix.ENOENT, 2: unix.ECONNREFUSED, 3: unix.ECONNREFUSED, 4: unix.ENOENT,
			5: unix.EPERM, 6: unix.EPERM, 10: unix.ENOENT, 11: unix.ENOBUFS, 12: unix.ENOBUFS,
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("failed (-want +got):\n%s", diff)
		}
		if arrived, want := ids(taken(t, k, c.PortID())), []int{0, 1, 4, 7, 8, 9, 10}; !slices.Equal(arrived, want) {
			t.Errorf("arrived %v, want %v", arrived, want)
		}
	}
	if cn := c.Counters(); cn.SentRing != 2*5 || cn.SentLinear != 2*2 {
		t.Errorf("counters: %d by ring, %d linear; want 10 and 4", cn.SentRing, cn.SentLinear)
	}
}

func TestTXRingFailedSendGoesLinear(t *testing.T) {
	for _, tt := range []struct {
		name string
		fail func(s *ringtest.Socket)
		ring int
	}{
		{"before the first", func(s *ringtest.Socket) { s.FailSend(unix.ENOMEM) }, 0},
		{"interrupted", func(s *ringtest.Socket) { s.FailSend(unix.EINTR, unix.EINTR) }, 6},
		{"no memory for the third", func(s *ringtest.Socket) { s.FailAllocation(3) }, 6},
		{"no memory for the first", func(s *ringtest.Socket) { s.FailAllocation(1) }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, k, s := txConn(t, ringtest.Config{})
			var b SendBatch
			for round := range 2 {
				if round == 0 {
					tt.fail(s)
				}
				fillBatch(&b, requests(0, 100, 200, 300, 400, 500, 600))
				if err := c.Send(&b, noneFails(t)); err != nil {
					t.Fatal(err)
				}
				got := taken(t, k, c.PortID())
				if !slices.Equal(ids(got), []int{0, 1, 2, 3, 4, 5}) {
					t.Errorf("round %d: arrived %v", round, got)
				}
				if n := rings(got); round == 0 && n != tt.ring || round == 1 && n != 6 {
					t.Errorf("round %d: %d were sent through the ring", round, n)
				}
				for i := range txFrames {
					if st := s.TX(i).Status; st != 0 {
						t.Errorf("frame %d is left with status %d", i, st)
					}
				}
			}
		})
	}
	t.Run("linear fails too", func(t *testing.T) {
		c, k, s := txConn(t, ringtest.Config{})
		s.FailSend(unix.ENOMEM, unix.ENETDOWN)
		var b SendBatch
		fillBatch(&b, requests(0, 100, 200, 300))
		failed := 0
		err := c.Send(&b, func(_ int, errno unix.Errno) {
			failed++
			if errno != unix.ENETDOWN {
				t.Errorf("errno %v", errno)
			}
		})
		if !errors.Is(err, unix.ENETDOWN) || failed != 3 || len(taken(t, k, c.PortID())) != 0 {
			t.Errorf("error %v, %d failed", err, failed)
		}
	})
}

// TestTXRingSerialises: batches of several goroutines are not interleaved.
func TestTXRingSerialises(t *testing.T) {
	c, k, _ := txConn(t, ringtest.Config{})
	const senders, batches = 8, 30
	var wg sync.WaitGroup
	var failures atomic.Int64
	for i := range senders {
		wg.Go(func() {
			var b SendBatch
			rng := rand.New(rand.NewPCG(3, uint64(i)))
			for j := range batches {
				var sizes []int
				for range 1 + rng.IntN(24) {
					sizes = append(sizes, overhead+rng.IntN(1200))
				}
				fillBatch(&b, requests(i<<20|j<<10, sizes...))
				if err := c.Send(&b, func(int, unix.Errno) { failures.Add(1) }); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if n := failures.Load(); n != 0 {
		t.Errorf("%d failures", n)
	}
	last := -1 // of the current batch
	seen := map[int]int{}
	for _, id := range ids(taken(t, k, c.PortID())) {
		if id&1023 != 0 && id != last+1 {
			t.Fatalf("message %x after %x", id, last)
		}
		seen[id>>10]++
		last = id
	}
	if len(seen) != senders*batches {
		t.Errorf("%d batches arrived, want %d", len(seen), senders*batches)
	}
}

// TestTXRingRandomFaults: with random faults, each message either arrives once and in order, or is
// reported.
func TestTXRingRandomFaults(t *testing.T) {
	rounds := 600
	if testing.Short() || raceEnabled {
		rounds = 150
	}
	for mode, name := range []string{"copy", "broken", "in place"} {
		t.Run(name, func(t *testing.T) {
			rng := rand.New(rand.NewPCG(11, uint64(mode)))
			c, k, s := txConn(t, ringtest.Config{TX: ringtest.TXMode(mode)})
			refuse := map[int]unix.Errno{}
			k.Refuse = refusing(refuse)
			var b SendBatch
			var sent, reported int
			for round := range rounds {
				var sizes []int
				for range 1 + rng.IntN(40) {
					size := overhead + rng.IntN(800)
					if rng.IntN(15) == 0 {
						size = 900 + rng.IntN(1600)
					}
					sizes = append(sizes, size)
				}
				list := requests(round<<10, sizes...)
				clear(refuse)
				want := map[int]bool{}
				for i := range list {
					if rng.IntN(20) == 0 {
						refuse[list[i].id] = unix.EPERM
					}
					want[list[i].id] = true
				}
				switch rng.IntN(5) {
				case 0:
					s.FailSend(unix.EINTR)
				case 1:
					s.FailSend(unix.ENOMEM)
				case 2:
					s.FailAllocation(1 + rng.IntN(20))
				case 3:
					s.FinishTX()
				}
				fillBatch(&b, list)
				err := c.Send(&b, func(i int, errno unix.Errno) {
					reported++
					if !want[list[i].id] {
						t.Errorf("message %d is reported twice", list[i].id)
					}
					delete(want, list[i].id)
				})
				got := ids(taken(t, k, c.PortID()))
				if !slices.IsSorted(got) || len(got) != len(want) {
					t.Fatalf("round %d, %v: arrived %v of %d, %d not reported", round, err, got, len(list), len(want))
				}
				for _, id := range got {
					if !want[id] {
						t.Fatalf("round %d: message %d arrived though it was reported, or twice", round, id)
					}
					delete(want, id)
				}
				sent += len(got)
			}
			cn := c.Counters()
			if int(cn.SentRing+cn.SentLinear) != sent {
				t.Errorf("%d arrived; counters: %d by ring, %d linear", sent, cn.SentRing, cn.SentLinear)
			}
			if mode != int(ringtest.TXBroken) && (cn.SentRing == 0 || cn.SentLinear == 0 || reported == 0) {
				t.Errorf("no variety: %d by ring, %d linear, %d reported", cn.SentRing, cn.SentLinear, reported)
			}
		})
	}
}

func TestTXRingUnmapsBeforeClose(t *testing.T) {
	k := ringtest.NewRequests(ringtest.Config{})
	c, err := Dial(unix.NETLINK_GENERIC, Config{TXRing: testRing, Kernel: k})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	}
	if calls := k.Calls(); !slices.Equal(calls, []string{"socket", "setsockopt", "mmap", "munmap", "close"}) {
		t.Errorf("calls %v", calls)
	}
	if n := k.Alive(); n != 0 {
		t.Errorf("%d sockets live on", n)
	}
	var b SendBatch
	fillBatch(&b, requests(0, 100))
	if err := c.Send(&b, func(int, unix.Errno) {}); !errors.Is(err, ErrClosed) {
		t.Errorf("send after Close: %v", err)
	}
}

func TestConnWithoutTXRing(t *testing.T) {
	for _, tt := range []struct {
		name string
		cfg  ringtest.Config
		want error
	}{
		{"no rings", ringtest.Config{NoRings: true}, mmapring.ErrNotSupported},
		{"no capability", ringtest.Config{NoCap: true}, unix.EPERM},
		{"no memory", ringtest.Config{FailTXRing: unix.ENOMEM}, unix.ENOMEM},
		{"not mapped", ringtest.Config{FailMmap: unix.ENOMEM}, unix.ENOMEM},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k := ringtest.NewRequests(tt.cfg)
			c := dial(t, unix.NETLINK_GENERIC, Config{TXRing: testRing, Kernel: k})
			if c.Transport() != Linear || !errors.Is(c.RingError(), tt.want) {
				t.Errorf("transport %v, %v; want linear, %v", c.Transport(), c.RingError(), tt.want)
			}
			if rx, tx := k.Lookup(c.FD()).HasRings(); rx || tx {
				t.Error("a ring is set")
			}
		})
	}
}

// swift is a kernel that accepts frames without reading them, and without allocating.
type swift struct {
	*ringtest.Requests
	mem []byte
}

func (k *swift) Mmap(fd int, offset int64, length, prot, flags int) (mem []byte, err error) {
	k.mem, err = k.Requests.Mmap(fd, offset, length, prot, flags)
	return k.mem, err
}

func (k *swift) Sendmsg(_ int, msg *unix.Msghdr, _ int) (n int, err error) {
	if msg.Iov.Base != nil {
		return 0, nil
	}
	for i := range txFrames {
		// A frame's first word is its status; testRing's sizes align it.
		st := (*uint32)(unsafe.Pointer(&k.mem[i*int(testRing.FrameSize)]))
		if atomic.LoadUint32(st) == uint32(mmapring.Valid) {
			atomic.StoreUint32(st, uint32(mmapring.Unused))
			n++
		}
	}
	return n, nil
}

func TestTXRingAllocatesNothing(t *testing.T) {
	k := &swift{Requests: ringtest.NewRequests(ringtest.Config{})}
	c := dial(t, unix.NETLINK_GENERIC, Config{TXRing: testRing, Kernel: k})
	packet := pattern(9, 700)
	var b SendBatch
	failed := noneFails(t)
	assertAllocs(t, "sending a batch of 21 messages, one of them linear, by a ring", func() {
		b.Reset()
		for i := range 21 {
			e := b.Begin(typeSkipped, 0)
			e.Uint32(1, uint32(i))
			b.Gather(2, packet[:600+i])
			if i == 7 {
				b.End()
				e = b.Begin(typeSkipped, 0)
				e.Raw(packet...)
				e.Raw(packet...)
			}
			b.End()
		}
		if err := c.Send(&b, failed); err != nil {
			t.Fatal(err)
		}
	})
	if c.Counters().SentRing == 0 || c.Transport() != Ring {
		t.Errorf("%d by the ring", c.Counters().SentRing)
	}
}
