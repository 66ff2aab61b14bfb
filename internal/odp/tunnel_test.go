package odp

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"testing"

	"dpifd/internal/netlink"
)

func tunnelKey(fn func(*netlink.Encoder)) []byte {
	var e netlink.Encoder
	AppendInPort(&e, 3)
	e.Nested(KeyAttrTunnel, fn)
	return e.Bytes()
}

func TestParseTunnel(t *testing.T) {
	a4, b4 := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2")
	a6, b6 := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2")
	id := binary.BigEndian.AppendUint64(nil, 0xfffffe)
	for _, tt := range []struct {
		name string
		fn   func(*netlink.Encoder)
		want TunnelKey
		err  error
	}{
		{"IPv4", func(e *netlink.Encoder) {
			e.Attr(TunnelAttrID, id)
			e.Attr(TunnelAttrIPv4Src, a4.AsSlice())
			e.Attr(TunnelAttrIPv4Dst, b4.AsSlice())
			e.Uint8(TunnelAttrTTL, 64)
		}, TunnelKey{0xfffffe, a4, b4}, nil},
		{"IPv6 without id", func(e *netlink.Encoder) {
			e.Attr(TunnelAttrIPv6Src, a6.AsSlice())
			e.Attr(TunnelAttrIPv6Dst, b6.AsSlice())
		}, TunnelKey{0, a6, b6}, nil},
		{"two families", func(e *netlink.Encoder) {
			e.Attr(TunnelAttrIPv4Src, a4.AsSlice())
			e.Attr(TunnelAttrIPv6Dst, b6.AsSlice())
		}, TunnelKey{}, ErrNoTunnel},
		{"no source", func(e *netlink.Encoder) { e.Attr(TunnelAttrIPv4Dst, b4.AsSlice()) }, TunnelKey{}, ErrNoTunnel},
		{"short address", func(e *netlink.Encoder) {
			e.Attr(TunnelAttrIPv4Src, a4.AsSlice()[:3])
			e.Attr(TunnelAttrIPv4Dst, b4.AsSlice())
		}, TunnelKey{}, ErrNoTunnel},
		{"short id", func(e *netlink.Encoder) { e.Attr(TunnelAttrID, id[:4]) }, TunnelKey{}, errTunnelID},
		{"nothing", func(*netlink.Encoder) {}, TunnelKey{}, ErrNoTunnel},
	} {
		got, err := ParseTunnel(tunnelKey(tt.fn))
		if !errors.Is(err, tt.err) || err == nil && got != tt.want || err != nil && !errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("%s: %+v, %v; want %+v, %v", tt.name, got, err, tt.want, tt.err)
		}
	}
	if _, err := ParseTunnel(nil); !errors.Is(err, ErrNoTunnel) {
		t.Errorf("a key without tunnel: %v", err)
	}
}

// TestSetTunnel compares with the text that ovs-dpctl prints for such actions.
func TestSetTunnel(t *testing.T) {
	for want, set := range map[string]SetTunnel{
		"set(tunnel(tun_id=0x2a,dst=192.0.2.1,ttl=64,tp_dst=4789,flags(df|key)))": {
			ID: 42, HasID: true, Dst: netip.MustParseAddr("192.0.2.1"), TTL: 64, DontFragment: true, DstPort: 4789},
		"set(tunnel(tun_id=0,src=192.0.2.9,dst=192.0.2.1,tos=0xb8,ttl=1,flags(csum|key)))": {
			HasID: true, Src: netip.MustParseAddr("192.0.2.9"), Dst: netip.MustParseAddr("192.0.2.1"), TOS: 0xb8, TTL: 1,
			CSum: true},
		"set(tunnel(ipv6_src=2001:db8::9,ipv6_dst=2001:db8::1,ttl=255,flags(df)))": {
			Src: netip.MustParseAddr("2001:db8::9"), Dst: netip.MustParseAddr("2001:db8::1"), TTL: 255, DontFragment: true},
	} {
		var e netlink.Encoder
		at := AppendSetTunnel(&e, &set)
		if got := string(Text{}.AppendActions(nil, e.Bytes())); got != want {
			t.Errorf("%s, want %s", got, want)
		}
		if (at != 0) != (set.TOS != 0) || at != 0 && e.Bytes()[at] != set.TOS {
			t.Errorf("%s: TOS at %d", want, at)
		}
	}
}

func ipKey(tags int, typ uint16, attr uint16, ip []byte) []byte {
	var e netlink.Encoder
	var build func(*netlink.Encoder, int)
	build = func(e *netlink.Encoder, tags int) {
		if tags == 0 {
			AppendEthertype(e, typ)
			e.Attr(attr, ip)
			return
		}
		AppendEthertype(e, 0x8100)
		AppendVLAN(e, 0x1005)
		e.Nested(KeyAttrEncap, func(e *netlink.Encoder) { build(e, tags-1) })
	}
	build(&e, tags)
	return e.Bytes()
}

// TestTOS: the TOS is found behind tags, and its mask has the length of the key and covers the
// field.
func TestTOS(t *testing.T) {
	ip4, ip6 := make([]byte, ipv4KeyLen), make([]byte, ipv6KeyLen)
	ip4[ipv4TOSAt], ip6[ipv6TOSAt] = 0xbb, 0x47
	for tags := range maxNesting + 1 {
		for _, tt := range []struct {
			key  []byte
			want uint8
		}{
			{ipKey(tags, 0x0800, KeyAttrIPv4, ip4), 0xb8},
			{ipKey(tags, 0x86dd, KeyAttrIPv6, ip6), 0x44},
			{ipKey(tags, 0x0800, KeyAttrIPv4, ip4[:11]), 0},
			{ipKey(tags, 0x0806, KeyAttrARP, make([]byte, 24)), 0},
		} {
			if got := TOS(tt.key); got != tt.want {
				t.Errorf("%d tags: TOS %#x, want %#x", tags, got, tt.want)
			}
			var m netlink.Encoder
			AppendTOSMask(&m, tt.key)
			text := Text{}.AppendKey(nil, tt.key, m.Bytes())
			if err := netlink.CheckAttrs(m.Bytes()); err != nil {
				t.Errorf("mask of %s: %v", text, err)
			}
			// The key with all unmasked bits cleared has the same TOS.
			if masked := maskedBy(tt.key, m.Bytes()); TOS(masked) != tt.want {
				t.Errorf("%d tags: the masked key has TOS %#x, want %#x", tags, TOS(masked), tt.want)
			}
		}
	}
}

// maskedBy clears the bits of b that mask, with the same nesting, lacks.
func maskedBy(b, mask []byte) []byte {
	var e netlink.Encoder
	it := netlink.NewAttrs(b)
	for it.Next() {
		m := netlink.FindAttr(mask, it.Type())
		if it.Type() == KeyAttrEncap {
			inner := maskedBy(it.Data(), m)
			e.Nested(KeyAttrEncap, func(e *netlink.Encoder) { e.Raw(inner...) })
			continue
		}
		data := append([]byte(nil), it.Data()...)
		for i := range data {
			data[i] &= at(m, i)
		}
		e.Attr(it.Type(), data)
	}
	return e.Bytes()
}

func FuzzTunnel(f *testing.F) {
	f.Add(tunnelKey(func(e *netlink.Encoder) {
		e.Attr(TunnelAttrID, make([]byte, 8))
		e.Attr(TunnelAttrIPv4Src, []byte{192, 0, 2, 1})
		e.Attr(TunnelAttrIPv4Dst, []byte{192, 0, 2, 2})
	}))
	f.Add(ipKey(2, 0x86dd, KeyAttrIPv6, make([]byte, ipv6KeyLen)))
	f.Add(ipKey(3, 0x0800, KeyAttrIPv4, make([]byte, ipv4KeyLen)))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseTunnel(b)
		if err != nil && !errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("error %v", err)
		}
		if err == nil && k.Src.Is4() != k.Dst.Is4() {
			t.Errorf("accepted %+v", k)
		}
		TOS(b)
		var e netlink.Encoder
		AppendTOSMask(&e, b)
		if e.Err() != nil || netlink.CheckAttrs(e.Bytes()) != nil {
			t.Errorf("mask %x: %v", e.Bytes(), e.Err())
		}
	})
}
