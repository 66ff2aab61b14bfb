package netlink

import (
	"testing"

	mdlayher "github.com/mdlayher/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes of the messages that are encoded and decoded, with the structure of FLOW_NEW.
var (
	benchMAC  = pattern(3, 12)
	benchIPv4 = pattern(5, 12)
)

const benchAttrs = 4 // at the outer level; one of them nests three

func encodeOurs(e *Encoder) {
	e.Clear()
	e.Begin(20, 0)
	e.Uint32(1, 7)
	e.Nested(2|unix.NLA_F_NESTED, encodeInner)
	e.String(5, "port0")
	e.Uint16(6, 0x0800)
	e.End()
}

func encodeInner(e *Encoder) {
	e.Uint32(3, 1)
	e.Attr(4, benchMAC)
	e.Attr(7, benchIPv4)
}

func encodeMdlayher(b *testing.B) []byte {
	ae := mdlayher.NewAttributeEncoder()
	ae.Uint32(1, 7)
	ae.Nested(2, func(in *mdlayher.AttributeEncoder) error {
		in.Uint32(3, 1)
		in.Bytes(4, benchMAC)
		in.Bytes(7, benchIPv4)
		return nil
	})
	ae.String(5, "port0")
	ae.Uint16(6, 0x0800)
	data, err := ae.Encode()
	if err != nil {
		b.Fatal(err)
	}
	return data
}

func encodeVishvananda() []byte {
	r := nl.NewNetlinkRequest(20, 0)
	r.AddData(nl.NewRtAttr(1, nl.Uint32Attr(7)))
	nest := nl.NewRtAttr(2|unix.NLA_F_NESTED, nil)
	nest.AddRtAttr(3, nl.Uint32Attr(1))
	nest.AddRtAttr(4, benchMAC)
	nest.AddRtAttr(7, benchIPv4)
	r.AddData(nest)
	r.AddData(nl.NewRtAttr(5, nl.ZeroTerminated("port0")))
	r.AddData(nl.NewRtAttr(6, nl.Uint16Attr(0x0800)))
	return r.Serialize()
}

// BenchmarkEncode encodes one message.
func BenchmarkEncode(b *testing.B) {
	for _, l := range []struct {
		name   string
		encode func(b *testing.B)
	}{
		{"lib=dpifd", func() func(*testing.B) { e := &Encoder{}; return func(*testing.B) { encodeOurs(e) } }()},
		{"lib=mdlayher", func(b *testing.B) { encodeMdlayher(b) }},
		{"lib=vishvananda", func(*testing.B) { encodeVishvananda() }},
	} {
		b.Run(l.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				l.encode(b)
			}
		})
	}
}

// BenchmarkDecode iterates over the outer attributes of one message.
func BenchmarkDecode(b *testing.B) {
	e := &Encoder{}
	encodeOurs(e)
	data := e.Bytes()[headerLen:]
	for _, l := range []struct {
		name   string
		decode func(b *testing.B) int
	}{
		{"lib=dpifd", func(b *testing.B) int {
			n := 0
			it := NewAttrs(data)
			for it.Next() {
				n++
			}
			return n
		}},
		{"lib=mdlayher", func(b *testing.B) int {
			n := 0
			ad, err := mdlayher.NewAttributeDecoder(data)
			if err != nil {
				b.Fatal(err)
			}
			for ad.Next() {
				n++
			}
			return n
		}},
		{"lib=vishvananda", func(b *testing.B) int {
			attrs, err := nl.ParseRouteAttr(data)
			if err != nil {
				b.Fatal(err)
			}
			return len(attrs)
		}},
	} {
		b.Run(l.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if n := l.decode(b); n != benchAttrs {
					b.Fatal(n)
				}
			}
		})
	}
}

// Requests for generic netlink's families, which need no privileges (linux/genetlink.h).
const (
	benchCmdGetFamily = 3
	benchCtrlID       = 0x10
	benchAttrFamilyID = 1
)

// BenchmarkTransact requests one family, BenchmarkDump all, on an open socket.
func BenchmarkTransact(b *testing.B) { benchRequest(b, false) }

func BenchmarkDump(b *testing.B) { benchRequest(b, true) }

func benchRequest(b *testing.B, dump bool) {
	genl := []byte{benchCmdGetFamily, 1, 0, 0}
	id := nl.Uint16Attr(benchCtrlID)
	b.Run("lib=dpifd", func(b *testing.B) {
		c, e := dial(b, unix.NETLINK_GENERIC, Config{}), &Encoder{}
		n := 0
		count := func(Header, []byte) error { n++; return nil }
		b.ReportAllocs()
		for b.Loop() {
			e.Clear()
			e.Begin(benchCtrlID, 0)
			e.Raw(genl...)
			if !dump {
				e.Attr(benchAttrFamilyID, id)
			}
			e.End()
			if dump {
				n = 0
				if err := c.Dump(e, func() { n = 0 }, count); err != nil || n == 0 {
					b.Fatal(n, err)
				}
			} else if reply, err := c.Transact(e); err != nil || len(reply) == 0 {
				b.Fatal(err)
			}
		}
	})
	b.Run("lib=mdlayher", func(b *testing.B) {
		c, err := mdlayher.Dial(unix.NETLINK_GENERIC, nil)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		flags := mdlayher.Request
		if dump {
			flags = mdlayher.Request | mdlayher.Dump
		}
		b.ReportAllocs()
		for b.Loop() {
			ae := mdlayher.NewAttributeEncoder()
			if !dump {
				ae.Bytes(benchAttrFamilyID, id)
			}
			attrs, err := ae.Encode()
			if err != nil {
				b.Fatal(err)
			}
			m := mdlayher.Message{Header: mdlayher.Header{Type: benchCtrlID, Flags: flags}, Data: append(genl[:4:4], attrs...)}
			if got, err := c.Execute(m); err != nil || len(got) == 0 {
				b.Fatal(err)
			}
		}
	})
	b.Run("lib=vishvananda", func(b *testing.B) {
		s, err := nl.Subscribe(unix.NETLINK_GENERIC)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(s.Close)
		flags := 0
		if dump {
			flags = unix.NLM_F_DUMP
		}
		b.ReportAllocs()
		for b.Loop() {
			r := nl.NewNetlinkRequest(benchCtrlID, flags)
			r.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_GENERIC: {Socket: s}}
			r.AddData(&nl.Genlmsg{Command: benchCmdGetFamily, Version: 1})
			if !dump {
				r.AddData(nl.NewRtAttr(benchAttrFamilyID, id))
			}
			if got, err := r.Execute(unix.NETLINK_GENERIC, 0); err != nil || len(got) == 0 {
				b.Fatal(err)
			}
		}
	})
}

// BenchmarkSend sends messages of 1,500 bytes that the kernel skips, 64 per call.
func BenchmarkSend(b *testing.B) {
	c := dial(b, unix.NETLINK_ROUTE, Config{})
	batch, payload := &SendBatch{}, pattern(1, 1500)
	failed := func(i int, errno unix.Errno) { b.Fatal(i, errno) }
	b.ReportAllocs()
	for b.Loop() {
		batch.Reset()
		for range 64 {
			batch.Begin(unix.NLMSG_NOOP, 0)
			batch.Gather(1, payload)
			batch.End()
		}
		if err := c.Send(batch, failed); err != nil {
			b.Fatal(err)
		}
	}
	b.SetBytes(int64(batch.size))
}
