package netlink

import (
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	mdlayher "github.com/mdlayher/netlink"
	vishvananda "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

func part(seq uint32, flags uint16, payload ...byte) []byte {
	return message(30, unix.NLM_F_MULTI|flags, seq, peerPort, payload...)
}

func done(seq uint32, flags uint16, code int32, tlvs ...byte) []byte {
	return message(unix.NLMSG_DONE, unix.NLM_F_MULTI|flags, seq, peerPort,
		append(binary.NativeEndian.AppendUint32(nil, uint32(code)), tlvs...)...)
}

func TestDump(t *testing.T) {
	const intr = unix.NLM_F_DUMP_INTR
	const never = 8 // payload of messages that must not be passed on
	stop := errors.New("stop")
	extack := attr(unix.NLMSGERR_ATTR_MSG, []byte("too old\x00")...)
	tests := []struct {
		name   string
		answer func(try int, seq uint32) [][]byte
		each   error // result of the callback for payload 2
		got    []byte
		resets int
		err    error
		extack string
	}{
		{"empty", func(_ int, q uint32) [][]byte { return [][]byte{done(q, 0, 0)} }, nil, nil, 0, nil, ""},
		{"end without a code", func(_ int, q uint32) [][]byte {
			return [][]byte{part(q, 0, 1), message(unix.NLMSG_DONE, 0, q, peerPort)}
		}, nil, []byte{1}, 0, nil, ""},
		{"several parts", func(_ int, q uint32) [][]byte {
			return [][]byte{slices.Concat(part(q, 0, 1), part(q, 0, 2)), part(q, 0, 3),
				slices.Concat(part(q, 0, 4), done(q, 0, 0))}
		}, nil, []byte{1, 2, 3, 4}, 0, nil, ""},
		{"stale parts", func(_ int, q uint32) [][]byte {
			return [][]byte{part(q-1, 0, never), done(q-1, 0, 0), part(q, 0, 1), done(q, 0, 0)}
		}, nil, []byte{1}, 0, nil, ""},
		{"error at the start", func(_ int, q uint32) [][]byte { return [][]byte{ack(q, unix.EOPNOTSUPP, extack...)} },
			nil, nil, 0, unix.EOPNOTSUPP, "too old"},
		{"acknowledged as well", func(_ int, q uint32) [][]byte {
			return [][]byte{ack(q, 0), part(q, 0, 1), done(q, 0, 0)}
		}, nil, []byte{1}, 0, nil, ""},
		{"error at the end", func(_ int, q uint32) [][]byte {
			return [][]byte{part(q, 0, 1), done(q, unix.NLM_F_ACK_TLVS, -int32(unix.EMSGSIZE), extack...)}
		}, nil, []byte{1}, 0, unix.EMSGSIZE, "too old"},
		{"interrupted twice", func(try int, q uint32) [][]byte {
			if try < 3 {
				return [][]byte{part(q, 0, 1), part(q, intr, never), part(q, 0, never), done(q, intr, 0)}
			}
			return [][]byte{part(q, 0, 5), done(q, 0, 0)}
		}, nil, []byte{5}, 2, nil, ""},
		{"interrupted at its very end", func(try int, q uint32) [][]byte {
			if try == 1 {
				return [][]byte{part(q, 0, 9), done(q, intr, 0)}
			}
			return [][]byte{part(q, 0, 5), done(q, 0, 0)}
		}, nil, []byte{5}, 1, nil, ""},
		{"always interrupted", func(_ int, q uint32) [][]byte { return [][]byte{part(q, intr, never), done(q, 0, 0)} },
			nil, nil, maxDumps - 1, ErrDumpInterrupted, ""},
		{"ended by the caller", func(_ int, q uint32) [][]byte {
			return [][]byte{slices.Concat(part(q, 0, 1), part(q, 0, 2), part(q, 0, never)), part(q, 0, never), done(q, 0, 0)}
		}, stop, []byte{1, 2}, 0, stop, ""},
		{"malformed part", func(_ int, q uint32) [][]byte {
			return [][]byte{part(q, 0, 1), {7, 7, 7}, part(q, 0, 2), done(q, 0, 0)}
		}, nil, []byte{1}, 0, ErrMalformed, ""},
		{"malformed end", func(_ int, q uint32) [][]byte {
			return [][]byte{part(q, 0, 1), message(unix.NLMSG_DONE, 0, q, peerPort, 1)}
		}, nil, []byte{1}, 0, ErrMalformed, ""},
		{"part too large", func(_ int, q uint32) [][]byte {
			return [][]byte{part(q, 0, pattern(1, maxDatagram)...), part(q, 0, 1), done(q, 0, 0)}
		}, nil, nil, 0, unix.EMSGSIZE, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newPeer(t, func(p *peer) {
				for try := 1; ; try++ {
					h, ok := p.request()
					if !ok {
						return
					}
					switch {
					case h.Flags == unix.NLM_F_REQUEST|unix.NLM_F_DUMP:
						p.send(tt.answer(try, h.Seq)...)
					default:
						p.send(ack(h.Seq, 0))
					}
				}
			})
			var got []byte
			resets := 0
			err := c.Dump(one(), func() { resets++; got = nil }, func(h Header, payload []byte) error {
				if h.Type != 30 || len(payload) != 1 || payload[0] == never {
					t.Errorf("message %+v % x", h, payload)
				}
				got = append(got, payload[0])
				if payload[0] == 2 {
					return tt.each
				}
				return nil
			})
			if !errors.Is(err, tt.err) || (err == nil) != (tt.err == nil) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if !slices.Equal(got, tt.got) || resets != tt.resets {
				t.Errorf("messages %v after %d resets, want %v after %d", got, resets, tt.got, tt.resets)
			}
			var op *OpError
			if errors.As(err, &op) && op.Extack != tt.extack {
				t.Errorf("text %q, want %q", op.Extack, tt.extack)
			}
			if _, err := c.Transact(one()); err != nil || c.Counters().Stale > 2 {
				t.Errorf("next call: %v, counters %+v", err, c.Counters())
			}
		})
	}
}

// TestDumpReadToItsEnd: an interrupted dump is read to its end, even if that takes time, before
// it is requested again.
func TestDumpReadToItsEnd(t *testing.T) {
	c := newPeer(t, func(p *peer) {
		h, ok := p.request()
		p.send(part(h.Seq, unix.NLM_F_DUMP_INTR, 1))
		// Long enough for a wrong request to arrive.
		fds := []unix.PollFd{{Fd: int32(p.fd), Events: unix.POLLIN}}
		if n, err := unix.Poll(fds, 50); n != 0 || err != nil && err != unix.EINTR {
			t.Errorf("requested again before the end: %d, %v", n, err)
		}
		for ; ok; h, ok = p.request() {
			p.send(done(h.Seq, 0, 0))
		}
	})
	resets := 0
	if err := c.Dump(one(), func() { resets++ }, nil); err != nil || resets != 1 {
		t.Errorf("%v after %d resets, want 1", err, resets)
	}
}

// dumpLinks returns the names of the kernel's links.
func dumpLinks(t *testing.T, c *Conn) (names []string) {
	t.Helper()
	var e Encoder
	e.Begin(unix.RTM_GETLINK, 0)
	linkRequest(&e, 0)
	e.End()
	err := c.Dump(&e, func() { names = nil }, func(h Header, payload []byte) error {
		if h.Type != unix.RTM_NEWLINK {
			t.Errorf("message %+v", h)
		}
		names = append(names, linkName(t, payload))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// TestKernelDump lists the kernel's links with this package and two other libraries.
func TestKernelDump(t *testing.T) {
	c := dial(t, unix.NETLINK_ROUTE, Config{})
	oracles := map[string]func() (names []string){
		"mdlayher": func() (names []string) {
			o, err := mdlayher.Dial(unix.NETLINK_ROUTE, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer o.Close()
			msgs, err := o.Execute(mdlayher.Message{
				Header: mdlayher.Header{Type: unix.RTM_GETLINK, Flags: mdlayher.Request | mdlayher.Dump}, Data: make([]byte, 16)})
			if err != nil {
				t.Fatal(err)
			}
			for _, m := range msgs {
				names = append(names, linkName(t, m.Data))
			}
			return names
		},
		"vishvananda": func() (names []string) {
			list, err := vishvananda.LinkList()
			if err != nil {
				t.Fatal(err)
			}
			for _, l := range list {
				names = append(names, l.Attrs().Name)
			}
			return names
		},
	}
	for name, oracle := range oracles {
		// Links may change during the test: compare once they are stable.
		const tries = 20
		for try := 1; ; try++ {
			got, want := dumpLinks(t, c), oracle()
			if again := dumpLinks(t, c); !slices.Equal(got, again) && try < tries {
				t.Logf("try %d: links changed meanwhile", try)
				continue
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("links (-%s +ours):\n%s", name, diff)
			}
			break
		}
	}

	// A dump stopped by its caller leaves the socket usable: if the rest were not read, the next
	// dump would fail with EBUSY.
	stop := errors.New("stop")
	var e Encoder
	e.Begin(unix.RTM_GETLINK, 0)
	linkRequest(&e, 0)
	e.End()
	for range 2 {
		if err := c.Dump(&e, nil, func(Header, []byte) error { return stop }); err != stop {
			t.Errorf("error %v, want the caller's own", err)
		}
	}
}
