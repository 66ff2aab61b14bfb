package odp

import (
	"errors"
	"testing"

	"dpifd/internal/netlink"
)

func mask(src, dst MAC, more ...func(e *netlink.Encoder)) []byte {
	return encode(func(e *netlink.Encoder) {
		AppendInPortMask(e)
		AppendEthernet(e, src, dst)
		for _, fn := range more {
			fn(e)
		}
	})
}

var ones = MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func encap(fn func(e *netlink.Encoder)) func(e *netlink.Encoder) {
	return func(e *netlink.Encoder) { e.Nested(KeyAttrEncap, fn) }
}

func tunnel(fn func(e *netlink.Encoder)) func(e *netlink.Encoder) {
	return func(e *netlink.Encoder) { e.Nested(KeyAttrTunnel, fn) }
}

func TestMaskCovers(t *testing.T) {
	// The mask of a tagged flow as the kernel dumps it.
	dumped := encode(func(e *netlink.Encoder) {
		e.Uint32(KeyAttrRecircID, 0)
		e.Uint32(KeyAttrPriority, 0)
		e.Nested(KeyAttrTunnel, func(e *netlink.Encoder) {
			e.Uint64(0, 0xff) // OVS_TUNNEL_KEY_ATTR_ID
			e.Flag(5)         // OVS_TUNNEL_KEY_ATTR_DONT_FRAGMENT
		})
		AppendInPortMask(e)
		AppendEthernet(e, ones, MAC{0xff, 0xff, 0xf0})
		AppendEthertype(e, 0xffff)
		AppendVLAN(e, 0xffff)
		e.Nested(KeyAttrEncap, func(e *netlink.Encoder) {
			AppendEthertype(e, 0xffff)
			e.Attr(KeyAttrIPv4, []byte{0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0xff, 0, 0, 0})
		})
	})
	attr := func(typ uint16, b ...byte) func(e *netlink.Encoder) {
		return func(e *netlink.Encoder) { e.Attr(typ, b) }
	}
	tests := []struct {
		name       string
		have, need []byte
		want       bool
	}{
		{"itself", dumped, dumped, true},
		{"nothing", dumped, nil, true},
		{"both empty", nil, nil, true},
		{"fewer bits", dumped, mask(MAC{1}, MAC{0xff, 0x80, 0x70}), true},
		{"one bit more of the source", mask(MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xfe}, MAC{}), mask(ones, MAC{}), false},
		{"one bit more of the destination", dumped, mask(ones, MAC{0, 0, 0xf8}), false},
		{"no Ethernet", encode(AppendInPortMask), mask(MAC{}, groupBit), false},
		{"no Ethernet, none read", encode(AppendInPortMask), mask(MAC{}, MAC{}), true},
		{"in-port not shown", nil, encode(AppendInPortMask), true},
		{"in-port wildcarded", encode(func(e *netlink.Encoder) { e.Uint32(KeyAttrInPort, 0xffff0000) }), encode(AppendInPortMask), false},
		{"TCI not shown", mask(ones, ones), encode(func(e *netlink.Encoder) { AppendVLAN(e, 0xffff) }), true},
		{"behind the tag", dumped, encode(encap(attr(KeyAttrIPv4, 0xff, 0, 0xff))), true},
		{"behind the tag, too much", dumped, encode(encap(attr(KeyAttrIPv4, 0xff, 0, 0xff, 1))), false},
		{"behind no tag", mask(ones, ones), encode(encap(attr(KeyAttrEthertype, 0xff, 0xff))), false},
		{"before the tag only", encode(attr(KeyAttrEthertype, 0xff, 0xff)), encode(encap(attr(KeyAttrEthertype, 0xff, 0xff))), false},
		{"tunnel flag", dumped, encode(tunnel(attr(5))), true},
		{"tunnel flag missing", dumped, encode(tunnel(attr(6))), false},
		{"tunnel attribute 3 is no in-port", dumped, encode(tunnel(attr(3, 1))), false},
		{"tunnel attribute 5 is no VLAN", encode(tunnel(attr(6))), encode(tunnel(attr(5))), false},
		{"need is longer", encode(attr(KeyAttrMPLS, 0xff)), encode(attr(KeyAttrMPLS, 0xff, 0, 1)), false},
		{"need is longer by zeros", encode(attr(KeyAttrMPLS, 0xff)), encode(attr(KeyAttrMPLS, 0xff, 0, 0)), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := MaskCovers(tt.have, tt.need); got != tt.want || err != nil {
				t.Errorf("got %v, %v; want %v", got, err, tt.want)
			}
		})
	}
}

var groupBit = MAC{1}

func TestMaskCoversMalformed(t *testing.T) {
	good := mask(ones, ones)
	bad := good[:len(good)-1]
	deep := encode(encap(encap(encap(func(e *netlink.Encoder) { AppendEthertype(e, 1) }))))
	for name, lists := range map[string][2][]byte{
		"have": {bad, nil}, "need": {good, bad}, "nesting": {good, deep},
		"inside have": {encode(func(e *netlink.Encoder) { e.Attr(KeyAttrEncap, []byte{1}) }), encode(encap(func(e *netlink.Encoder) { AppendEthertype(e, 1) }))},
	} {
		got, err := MaskCovers(lists[0], lists[1])
		if name == "inside have" {
			if got || err != nil {
				t.Errorf("%s: a malformed mask covers: %v, %v", name, got, err)
			}
			continue
		}
		if got || !errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
}

func TestMaskCoversAllocs(t *testing.T) {
	m := mask(ones, ones, encap(AppendInPortMask))
	if n := testing.AllocsPerRun(100, func() {
		if ok, _ := MaskCovers(m, m); !ok {
			t.Fatal("not covered")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzMaskCovers(f *testing.F) {
	f.Add(mask(ones, ones), mask(ones, MAC{}))
	f.Add(mask(ones, ones, encap(AppendInPortMask)), mask(groupBit, MAC{}, encap(AppendInPortMask)))
	f.Add([]byte{4, 0, 16, 0}, []byte{4, 0, 16, 0})
	f.Fuzz(func(t *testing.T, have, need []byte) {
		_, err := MaskCovers(have, need)
		if err != nil && !errors.Is(err, netlink.ErrMalformed) {
			t.Fatalf("error %v does not match ErrMalformed", err)
		}
		NewMaskedHasher().HashMasked(have, need)
	})
}
