package netlink

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestKernelSend(t *testing.T) {
	var b SendBatch
	for name, c := range map[string]*Conn{
		"one send": dial(t, unix.NETLINK_ROUTE, Config{}),
		// The smallest buffer that the kernel grants does not hold the batch.
		"several sends": dial(t, unix.NETLINK_ROUTE, Config{SndBuf: 1}),
	} {
		const n = 400
		tests := [][]int{{}, {0}, {4, 7, 8}, {n - 1}, {0, 1, 2, 150, 160, 270, n - 2, n - 1}}
		for _, want := range tests {
			b.Reset()
			links(&b, n, func(i int) bool { return slices.Contains(want, i) })
			if split := b.size > c.SndBuf(); split != (name == "several sends") {
				t.Fatalf("%s: %d bytes, send buffer %d", name, b.size, c.SndBuf())
			}
			// Each success is answered by a link, which is more than can be queued.
			for i := range b.msgs {
				if !slices.Contains(want, i) {
					binary.NativeEndian.PutUint16(b.enc.buf[b.msgs[i].start+4:], unix.NLMSG_NOOP)
				}
			}
			got := []int{}
			err := c.Send(&b, func(i int, errno unix.Errno) {
				if errno != unix.ENODEV {
					t.Errorf("%s: message %d: %v, want ENODEV", name, i, errno)
				}
				got = append(got, i)
			})
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s: failed messages (-want +got):\n%s", name, diff)
			}
		}
		if sent := c.Counters().SentLinear; sent != uint64(n*len(tests)) {
			t.Errorf("%s: %d messages counted", name, sent)
		}
	}
}

// TestKernelSendOverflow: more failures than the receive buffer holds are reported, counted, not
// repeated, and have no effect on the next call.
func TestKernelSendOverflow(t *testing.T) {
	c := dial(t, unix.NETLINK_ROUTE, Config{RcvBuf: 1})
	var b SendBatch
	links(&b, 200, func(int) bool { return true })
	reported := 0
	err := c.Send(&b, func(int, unix.Errno) { reported++ })
	if !errors.Is(err, unix.ENOBUFS) || reported == 0 || reported >= 200 {
		t.Errorf("%d failures reported, %v; want some and ENOBUFS", reported, err)
	}
	if n := c.Counters(); n.Overflows != 1 || n.SentLinear != 200 {
		t.Errorf("counters %+v", n)
	}
	b.Reset()
	links(&b, 1, func(int) bool { return true })
	reported = 0
	if err := c.Send(&b, func(int, unix.Errno) { reported++ }); err != nil || reported != 1 {
		t.Errorf("next call: %d failures reported, %v", reported, err)
	}
}

// TestKernelTransactBatchOverflow does the same with answers: each message gets one, or ENOBUFS.
func TestKernelTransactBatchOverflow(t *testing.T) {
	c := dial(t, unix.NETLINK_ROUTE, Config{RcvBuf: 1})
	c.sock.rcvbuf = 100 * answerMemory // pretend a larger buffer than granted
	var b SendBatch
	const n = 201 // the last one is sent alone and succeeds
	links(&b, n, func(int) bool { return true })
	calls, lost := 0, 0
	err := c.TransactBatch(&b, func(i int, _ []byte, err error) {
		switch {
		case i != calls:
			t.Fatalf("call %d for message %d", calls, i)
		case errors.Is(err, unix.ENOBUFS):
			lost++
		case !errors.Is(err, unix.ENODEV):
			t.Errorf("message %d: %v", i, err)
		}
		calls++
	})
	if !errors.Is(err, unix.ENOBUFS) || calls != n || lost == 0 || lost == n {
		t.Errorf("%d calls, %d without an answer, %v", calls, lost, err)
	}
}

// TestSendSplits: messages that exceed the send buffer together are sent in order by several calls;
// a message that exceeds it alone is reported.
func TestSendSplits(t *testing.T) {
	const limit = 2000
	type sent struct {
		seqs  []uint32
		bytes int
	}
	sends := make(chan sent, 100)
	c := newPeer(t, func(p *peer) {
		defer close(sends)
		for {
			hs, payloads := p.requests()
			if hs == nil {
				return
			}
			var s sent
			for i, h := range hs {
				if h.Flags != unix.NLM_F_REQUEST || h.PortID != peerPort ||
					!bytes.Equal(payloads[i][4:], pattern(int(h.Type), 400)) {
					t.Errorf("request %+v, or its bytes", h)
				}
				s.seqs, s.bytes = append(s.seqs, h.Seq), s.bytes+int(h.Len)
			}
			sends <- s
		}
	})
	c.sock.sndbuf = limit + sendOverhead
	var b SendBatch
	for i := range 12 {
		n := 400
		if i == 6 {
			n = limit
		}
		b.Begin(uint16(100+i), 0)
		b.Gather(1, pattern(100+i, n))
		b.End()
	}
	var failed []int
	err := c.Send(&b, func(i int, errno unix.Errno) {
		if errno != unix.EMSGSIZE {
			t.Errorf("message %d: %v, want EMSGSIZE", i, errno)
		}
		failed = append(failed, i)
	})
	if !errors.Is(err, unix.EMSGSIZE) || !slices.Equal(failed, []int{6}) {
		t.Errorf("%v, failed %v; want EMSGSIZE for message 6", err, failed)
	}
	c.Close()
	var lens []int
	next := uint32(1)
	for s := range sends {
		lens = append(lens, len(s.seqs))
		if s.bytes > limit {
			t.Errorf("%d bytes in one send", s.bytes)
		}
		for _, q := range s.seqs {
			if q != next {
				t.Errorf("sequence number %d, want %d", q, next)
			}
			next++
		}
	}
	if want := []int{4, 2, 4, 1}; !slices.Equal(lens, want) {
		t.Errorf("messages by send %v, want %v", lens, want)
	}
}

func TestSendNothing(t *testing.T) {
	c := newPeer(t, func(p *peer) {
		if h, ok := p.request(); ok {
			t.Errorf("sent %+v", h)
		}
	})
	var b SendBatch
	if err := c.Send(&b, nil); err != nil {
		t.Error(err)
	}
	if err := c.TransactBatch(&b, nil); err != nil {
		t.Error(err)
	}
	b.Begin(20, 0)
	var op *OpError
	if err := c.Send(&b, nil); !errors.As(err, &op) {
		t.Errorf("open message: %v, want an OpError", err)
	}
	if err := c.TransactBatch(&b, nil); !errors.As(err, &op) {
		t.Errorf("open message: %v, want an OpError", err)
	}
}

func TestSendDoesNotAllocate(t *testing.T) {
	c := dial(t, unix.NETLINK_ROUTE, Config{})
	b, payload, failures := &SendBatch{}, pattern(1, 1500), 0
	failed := func(int, unix.Errno) { failures++ }
	assertAllocs(t, "Send", func() {
		b.Reset()
		for range 20 {
			// The kernel skips control messages whatever they contain.
			b.Begin(unix.NLMSG_NOOP, 0).Uint32(1, 5)
			b.Gather(2, payload)
			b.End()
			linkRequest(b.Begin(unix.RTM_GETLINK, 0), 1<<30)
			b.End()
		}
		if err := c.Send(b, failed); err != nil {
			t.Fatal(err)
		}
	})
	if failures == 0 {
		t.Error("no failure was reported")
	}
}
