package netlink

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"sync/atomic"
	"testing"

	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

func TestTransact(t *testing.T) {
	extack := attr(unix.NLMSGERR_ATTR_MSG, []byte("flow is busy\x00")...)
	stale := func(n int, seq uint32) (b [][]byte) {
		for i := range n {
			b = append(b, message(30, 0, seq-1, peerPort, pattern(i, 64)...))
		}
		return b
	}
	tests := []struct {
		name    string
		answer  func(seq uint32) [][]byte
		payload []byte
		err     error
		extack  string
		count   Counters // Stale, Truncated and Malformed
	}{
		{"acknowledgement", func(q uint32) [][]byte { return [][]byte{ack(q, 0)} }, nil, nil, "", Counters{}},
		{"reply", func(q uint32) [][]byte { return [][]byte{reply(q, 1, 2, 3), ack(q, 0)} }, []byte{1, 2, 3}, nil, "", Counters{}},
		{"empty reply", func(q uint32) [][]byte { return [][]byte{reply(q), ack(q, 0)} }, []byte{}, nil, "", Counters{}},
		{"both in one datagram", func(q uint32) [][]byte { return [][]byte{slices.Concat(reply(q, 1, 2, 3), ack(q, 0))} }, []byte{1, 2, 3}, nil, "", Counters{}},
		{"first of two replies", func(q uint32) [][]byte { return [][]byte{reply(q, 1), reply(q, 2), ack(q, 0)} }, []byte{1}, nil, "", Counters{}},
		{"error", func(q uint32) [][]byte { return [][]byte{ack(q, unix.ENODEV)} }, nil, unix.ENODEV, "", Counters{}},
		{"error with text", func(q uint32) [][]byte { return [][]byte{ack(q, unix.EBUSY, extack...)} }, nil, unix.EBUSY, "flow is busy", Counters{}},
		{"error after a reply", func(q uint32) [][]byte { return [][]byte{reply(q, 1), ack(q, unix.EIO)} }, nil, unix.EIO, "", Counters{}},
		{"stale reply and error first", func(q uint32) [][]byte {
			return [][]byte{reply(q-1, 9), ack(q-1, unix.EIO), reply(q, 1), ack(q, 0)}
		}, []byte{1}, nil, "", Counters{Stale: 2}},
		{"another's port id first", func(q uint32) [][]byte {
			return [][]byte{message(30, 0, q, peerPort+1, 9), reply(q, 1), ack(q, 0)}
		}, []byte{1}, nil, "", Counters{Stale: 1}},
		{"reply kept while more arrives", func(q uint32) [][]byte {
			return slices.Concat([][]byte{reply(q, pattern(3, 64)...)}, stale(3*connSlots, q), [][]byte{ack(q, 0)})
		}, pattern(3, 64), nil, "", Counters{Stale: 3 * connSlots}},
		{"control messages", func(q uint32) [][]byte {
			return [][]byte{message(unix.NLMSG_NOOP, 0, q, peerPort), reply(q, 1), ack(q, 0)}
		}, []byte{1}, nil, "", Counters{}},
		{"malformed datagram first", func(q uint32) [][]byte {
			return [][]byte{{1, 2, 3}, reply(q, 1), ack(q, 0)}
		}, []byte{1}, nil, "", Counters{Malformed: 1}},
		{"short error", func(q uint32) [][]byte {
			return [][]byte{message(unix.NLMSG_ERROR, 0, q, peerPort, 0, 0, 0, 0)}
		}, nil, ErrMalformed, "", Counters{Malformed: 1}},
		{"largest reply", func(q uint32) [][]byte {
			return [][]byte{reply(q, pattern(1, maxDatagram-headerLen)...), ack(q, 0)}
		}, pattern(1, maxDatagram-headerLen), nil, "", Counters{}},
		{"reply too large", func(q uint32) [][]byte {
			return [][]byte{reply(q, pattern(1, maxDatagram)...), ack(q, 0)}
		}, nil, unix.EMSGSIZE, "", Counters{Truncated: 1}},
		{"stale reply too large", func(q uint32) [][]byte {
			return [][]byte{reply(q-1, pattern(1, maxDatagram)...), reply(q, 1), ack(q, 0)}
		}, []byte{1}, nil, "", Counters{Truncated: 1, Stale: 1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newPeer(t, func(p *peer) {
				for {
					h, ok := p.request()
					if !ok {
						return
					}
					if h.Flags != unix.NLM_F_REQUEST|unix.NLM_F_ACK || h.PortID != peerPort {
						t.Errorf("request %+v", h)
					}
					p.send(tt.answer(h.Seq)...)
				}
			})
			// Twice: state left by one call must not affect the next.
			for range 2 {
				payload, err := c.Transact(one())
				if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
					t.Fatalf("error %v, want %v", err, tt.err)
				}
				if !bytes.Equal(payload, tt.payload) || (payload == nil) != (tt.payload == nil) {
					t.Errorf("payload % x, want % x", payload, tt.payload)
				}
				var op *OpError
				if errors.As(err, &op) && op.Extack != tt.extack {
					t.Errorf("text %q, want %q", op.Extack, tt.extack)
				}
			}
			n := c.Counters()
			got := Counters{Stale: n.Stale / 2, Truncated: n.Truncated / 2, Malformed: n.Malformed / 2}
			if got != tt.count || n.SentLinear != 2 {
				t.Errorf("counters %+v for two calls, want %+v for each", n, tt.count)
			}
		})
	}
}

func TestTransactTimeout(t *testing.T) {
	c := shortTimeout(newPeer(t, func(p *peer) {
		for _, ok := p.request(); ok; _, ok = p.request() {
		}
	}))
	if _, err := c.Transact(one()); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Transact: %v, want ErrDeadlineExceeded", err)
	}
	if err := c.Dump(one(), nil, nil); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("Dump: %v, want ErrDeadlineExceeded", err)
	}
	c.sock.rcvbuf = 2 * answerMemory
	b, calls := batchOf(5), 0
	err := c.TransactBatch(b, func(i int, _ []byte, err error) {
		if i != calls || !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("call %d for message %d: %v", calls, i, err)
		}
		calls++
	})
	if !errors.Is(err, os.ErrDeadlineExceeded) || calls != 5 {
		t.Errorf("TransactBatch: %v after %d calls", err, calls)
	}
	if n := c.Counters().SentLinear; n != 4 {
		t.Errorf("%d messages sent, want 1, 1 and the first part of 2", n)
	}
}

func TestTransactRefusesBadEncoder(t *testing.T) {
	c := newPeer(t, func(p *peer) {
		if h, ok := p.request(); ok {
			t.Errorf("sent %+v", h)
		}
	})
	for name, fill := range map[string]func(*Encoder){
		"empty":        func(*Encoder) {},
		"two messages": func(e *Encoder) { e.Begin(20, 0); e.End(); e.Begin(21, 0); e.End() },
		"not ended":    func(e *Encoder) { e.Begin(20, 0) },
		"latched":      func(e *Encoder) { e.Begin(20, 0); e.Raw(1); e.End() },
	} {
		var e Encoder
		fill(&e)
		var op *OpError
		if _, err := c.Transact(&e); !errors.As(err, &op) {
			t.Errorf("%s: %v, want an OpError", name, err)
		}
	}
}

// batchOf returns a batch of n messages with one gathered attribute each.
func batchOf(n int) *SendBatch {
	b := &SendBatch{}
	for i := range n {
		b.Begin(30, 0).Uint32(1, uint32(i))
		b.Gather(2, pattern(i, 10+i%7))
		b.End()
	}
	return b
}

func TestTransactBatch(t *testing.T) {
	const n, perSend = 100, 23
	var parts atomic.Int32
	c := newPeer(t, func(p *peer) {
		i := 0
		for {
			hs, payloads := p.requests()
			if hs == nil {
				return
			}
			if parts.Add(1); len(hs) > perSend {
				t.Errorf("%d messages in one send, want %d at most", len(hs), perSend)
			}
			for j, h := range hs {
				want := slices.Concat(attr(1, byte(i), 0, 0, 0), attr(2, pattern(i, 10+i%7)...))
				if h.Flags != unix.NLM_F_REQUEST|unix.NLM_F_ACK || !bytes.Equal(payloads[j], want) {
					t.Errorf("message %d: %+v % x, want % x", i, h, payloads[j], want)
				}
				switch i % 4 {
				case 0:
					p.send(ack(h.Seq, 0))
				case 1:
					p.send(reply(h.Seq, pattern(i, 50)...), ack(h.Seq, 0))
				case 2:
					p.send(ack(h.Seq, unix.Errno(i)))
				case 3:
					// The answer is dropped, except at the end of a send, where only a timeout
					// would show it.
					if j == len(hs)-1 {
						p.send(ack(h.Seq, unix.ENOBUFS))
					} else {
						p.send(reply(h.Seq, 1))
					}
				}
				i++
			}
		}
	})
	c.sock.rcvbuf = perSend * answerMemory
	calls := 0
	err := c.TransactBatch(batchOf(n), func(i int, payload []byte, err error) {
		var want error
		var wantPayload []byte
		switch i % 4 {
		case 1:
			wantPayload = pattern(i, 50)
		case 2:
			want = unix.Errno(i)
		case 3:
			want = unix.ENOBUFS
		}
		if i != calls || !errors.Is(err, want) || !bytes.Equal(payload, wantPayload) {
			t.Errorf("call %d: message %d, % x, %v; want % x, %v", calls, i, payload, err, wantPayload, want)
		}
		calls++
	})
	if err != nil || calls != n {
		t.Errorf("%d calls, %v", calls, err)
	}
	if n := parts.Load(); n != 5 {
		t.Errorf("%d sends, want 5", n)
	}
}

// linkRequest appends the part after the header of an RTM_GETLINK for a link.
func linkRequest(e *Encoder, index int32) {
	e.Raw(unix.AF_UNSPEC, 0, 0, 0)
	e.RawUint32(uint32(index))
	e.RawUint32(0)
	e.RawUint32(0)
}

// links appends requests for lo, or for an interface that does not exist if bad returns true.
func links(b *SendBatch, n int, bad func(i int) bool) {
	for i := range n {
		index := int32(1)
		if bad(i) {
			index = 1<<30 + int32(i)
		}
		linkRequest(b.Begin(unix.RTM_GETLINK, 0), index)
		b.End()
	}
}

func TestKernelTransact(t *testing.T) {
	c := dial(t, unix.NETLINK_ROUTE, Config{})
	if c.PortID() == 0 || c.RcvBuf() <= 0 || c.SndBuf() <= 0 {
		t.Errorf("port %d, receive buffer %d, send buffer %d", c.PortID(), c.RcvBuf(), c.SndBuf())
	}
	o, err := mdlayher.Dial(unix.NETLINK_ROUTE, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer o.Close()
	data := append([]byte{0, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 8)...)
	want, err := o.Execute(mdlayher.Message{
		Header: mdlayher.Header{Type: unix.RTM_GETLINK, Flags: mdlayher.Request}, Data: data})
	if err != nil {
		t.Fatal(err)
	}
	var e Encoder
	e.Begin(unix.RTM_GETLINK, 0)
	linkRequest(&e, 1)
	e.End()
	got, err := c.Transact(&e)
	if err != nil {
		t.Fatal(err)
	}
	// Statistics may have changed between the two.
	if name, wantName := linkName(t, got), linkName(t, want[0].Data); name != wantName || len(got) != len(want[0].Data) {
		t.Errorf("%q in %d bytes, oracle %q in %d", name, len(got), wantName, len(want[0].Data))
	}
}

func linkName(t *testing.T, payload []byte) string {
	t.Helper()
	it := NewAttrs(payload[unix.SizeofIfInfomsg:])
	for it.Next() {
		if it.Type() == unix.IFLA_IFNAME {
			return it.String()
		}
	}
	t.Fatalf("no name in the answer: %v", it.Err())
	return ""
}

func TestKernelExtack(t *testing.T) {
	c := dial(t, unix.NETLINK_GENERIC, Config{})
	var e Encoder
	e.Begin(unix.GENL_ID_CTRL, 0)
	e.Raw(unix.CTRL_CMD_GETFAMILY, 1, 0, 0)
	e.String(unix.CTRL_ATTR_FAMILY_NAME, "a name that exceeds GENL_NAMSIZ")
	e.End()
	_, err := c.Transact(&e)
	var op *OpError
	if !errors.As(err, &op) || !(errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINVAL)) || op.Op != "transact" {
		t.Fatalf("error %v, want the kernel's", err)
	}
	if op.Extack == "" {
		t.Errorf("no text in %v", err)
	}
	t.Log(err)
}

// TestKernelCapsAnswers: if the kernel supports it, a failure is answered with the request's header
// only.
func TestKernelCapsAnswers(t *testing.T) {
	c := dial(t, unix.NETLINK_ROUTE, Config{})
	if _, err := unix.GetsockoptInt(c.FD(), unix.SOL_NETLINK, unix.NETLINK_CAP_ACK); err == unix.ENOPROTOOPT {
		t.Skip("the kernel lacks NETLINK_CAP_ACK")
	}
	var e Encoder
	e.Begin(unix.RTM_GETLINK, 0)
	linkRequest(&e, 1<<30)
	e.Attr(1000, make([]byte, 30000))
	e.End()
	if _, err := c.Transact(&e); !errors.Is(err, unix.ENODEV) {
		t.Errorf("error %v, want ENODEV", err)
	}
	if n := c.Counters().Bytes; n == 0 || n > 1000 {
		t.Errorf("answered with %d bytes", n)
	}
}

func TestKernelTransactBatch(t *testing.T) {
	const n = 300
	c := dial(t, unix.NETLINK_ROUTE, Config{})
	var b SendBatch
	bad := func(i int) bool { return i%3 == 1 || i == n-1 }
	links(&b, n, bad)
	calls := 0
	err := c.TransactBatch(&b, func(i int, payload []byte, err error) {
		switch {
		case i != calls:
			t.Fatalf("call %d for message %d", calls, i)
		case bad(i) && (!errors.Is(err, unix.ENODEV) || payload != nil):
			t.Errorf("message %d: %d bytes, %v; want ENODEV", i, len(payload), err)
		case !bad(i) && err != nil:
			t.Errorf("message %d: %v", i, err)
		case !bad(i) && linkName(t, payload) != "lo":
			t.Errorf("message %d: another link", i)
		}
		calls++
	})
	if err != nil || calls != n {
		t.Errorf("%d calls, %v", calls, err)
	}
}

func TestConnClose(t *testing.T) {
	checkFDs(t)
	c := dial(t, unix.NETLINK_ROUTE, Config{RcvBuf: 64 << 10, SndBuf: 32 << 10})
	if c.RcvBuf() != 128<<10 || c.SndBuf() != 64<<10 || c.FD() < 0 {
		t.Errorf("receive buffer %d, send buffer %d, descriptor %d", c.RcvBuf(), c.SndBuf(), c.FD())
	}
	for range 2 {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	nothing := func(int, []byte, error) { t.Error("called") }
	refused := 0
	for name, err := range map[string]error{
		"Transact":      func() error { _, err := c.Transact(one()); return err }(),
		"Dump":          c.Dump(one(), nil, nil),
		"Send":          c.Send(batchOf(3), func(int, unix.Errno) { refused++ }),
		"TransactBatch": c.TransactBatch(batchOf(1), nothing),
	} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("%s after Close: %v, want ErrClosed", name, err)
		}
	}
	if refused != 3 {
		t.Errorf("%d of 3 messages count as not sent", refused)
	}
	if c.FD() != -1 {
		t.Errorf("descriptor %d after Close", c.FD())
	}
}
