package odp

import (
	"bytes"
	"slices"
	"testing"

	"dpifd/internal/netlink"
)

// table returns the table of the attributes in b.
func table(b []byte) *netlink.AttrTable {
	var a netlink.AttrTable
	_ = a.Scan(b)
	return &a
}

// metadata returns the attributes that precede the addresses.
func metadata(more ...func(e *netlink.Encoder)) []byte {
	return encode(func(e *netlink.Encoder) {
		e.Uint32(KeyAttrRecircID, 0)
		e.Uint32(KeyAttrPriority, 0)
		for _, fn := range more {
			fn(e)
		}
		AppendInPort(e, 4)
		e.Uint32(KeyAttrSkbMark, 7)
	})
}

// zeros returns what the kernel puts in front of the addresses of most packets.
func zeros(port PortNo) []byte {
	return encode(func(e *netlink.Encoder) {
		e.Uint32(KeyAttrRecircID, 0)
		AppendInPort(e, port)
		e.Uint32(KeyAttrSkbMark, 0)
		e.Attr(KeyAttrCTLabels, make([]byte, 16))
	})
}

func inPort(port PortNo) []byte { return encode(func(e *netlink.Encoder) { AppendInPort(e, port) }) }

// TestMetadata has one Metadata find the part of each key, as it does on the packet path.
func TestMetadata(t *testing.T) {
	packet := frame{port: 4, src: macA, dst: macB, etherType: 0x0800,
		l3: []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}.key()
	ethernet := bytes.Index(packet, encode(func(e *netlink.Encoder) { AppendEthernet(e, macA, macB) }))
	if ethernet < 0 {
		t.Fatal("the key has no addresses")
	}
	inTunnel := metadata(tunnel(func(e *netlink.Encoder) { e.Uint64(0, 42) }))
	var m Metadata
	for name, tt := range map[string]struct{ key, want []byte }{
		"zeros":               {slices.Concat(zeros(4), packet[ethernet:]), inPort(4)},
		"zeros, another port": {slices.Concat(zeros(5), packet[ethernet:]), inPort(5)},
		"zeros, five fields":  {packet, inPort(4)},
		"an empty attribute": {slices.Concat(inPort(4), []byte{4, 0, 14, 0}, packet[ethernet:]),
			slices.Concat(inPort(4), []byte{4, 0, 14, 0})},
		"metadata first":         {slices.Concat(metadata(), packet[ethernet:]), metadata()},
		"with a tunnel":          {slices.Concat(inTunnel, packet[ethernet:]), inTunnel},
		"metadata last":          {slices.Concat(packet[ethernet:], metadata()), slices.Concat(packet[ethernet:], metadata())},
		"no addresses":           {metadata(), metadata()},
		"no in-port":             {packet[ethernet:], packet[ethernet:]},
		"nothing at all":         {nil, nil},
		"addresses, then faulty": {slices.Concat(metadata(), packet[ethernet:ethernet+16], []byte{1}), metadata()},
	} {
		if got := m.Of(table(tt.key)); !bytes.Equal(got, tt.want) {
			t.Errorf("%s: % x, want % x", name, got, tt.want)
		}
	}
}

func TestL2Key(t *testing.T) {
	plain := mask(ones, ones)
	some := mask(groupBit, MAC{0xff})
	packet := slices.Concat(metadata(), frame{port: 4, src: macA, dst: macB, etherType: 0x0800}.key())
	want := encode(func(e *netlink.Encoder) {
		AppendInPort(e, 4)
		AppendEthernet(e, macA, macB)
	})
	for name, tt := range map[string]struct {
		key, mask []byte
		is        bool
	}{
		"exact addresses":      {packet, plain, true},
		"some bits":            {packet, some, true},
		"another packet":       {frame{port: 4, src: macA, dst: macB, etherType: 0x86dd}.key(), plain, true},
		"EtherType in mask":    {packet, mask(ones, ones, func(e *netlink.Encoder) { AppendEthertype(e, 0xffff) }), false},
		"no addresses in mask": {packet, encode(func(e *netlink.Encoder) { AppendInPortMask(e) }), false},
		"mask turned round": {packet, encode(func(e *netlink.Encoder) {
			AppendEthernet(e, ones, ones)
			AppendInPortMask(e)
		}), false},
		"as long": {packet, encode(func(e *netlink.Encoder) {
			AppendInPortMask(e)
			e.Attr(KeyAttrIPv4, make([]byte, 12))
		}), false},
		"tagged":        {frame{port: 4, src: macA, dst: macB, tags: []uint16{0x1001}}.key(), plain, false},
		"half a tag":    {frame{port: 4, src: macA, dst: macB, tags: []uint16{0}}.key(), plain, false},
		"in a tunnel":   {slices.Concat(encode(tunnel(func(e *netlink.Encoder) { e.Uint64(0, 42) })), packet), plain, false},
		"no addresses":  {metadata(), plain, false},
		"no key at all": {nil, plain, false},
	} {
		var k L2Key
		if is := k.Of(table(tt.key), tt.mask); is != tt.is || is && !bytes.Equal(k[:], want) {
			t.Errorf("%s: %v with % x; want %v with % x", name, is, k, tt.is, want)
		}
	}
}

func FuzzL2Key(f *testing.F) {
	f.Add(frame{port: 7, src: macA, dst: macB, etherType: 0x0800}.key(), mask(ones, ones))
	f.Add(frame{port: 7, src: macA, dst: macB, tags: []uint16{0x1001}}.key(), mask(ones, ones))
	f.Add(metadata(), mask(ones, groupBit))
	f.Fuzz(func(t *testing.T, key, mask []byte) {
		if part := new(Metadata).Of(table(key)); !bytes.Contains(key, part) {
			t.Fatalf("% x is not part of % x", part, key)
		}
		var k L2Key
		if !k.Of(table(key), mask) {
			return
		}
		// The part consists of the key's attributes that the mask has.
		for it := netlink.NewAttrs(mask); it.Next(); {
			if got, want := netlink.FindAttr(k[:], it.Type()), netlink.FindAttr(key, it.Type()); !bytes.Equal(got, want) {
				t.Fatalf("type %d: % x, want % x", it.Type(), got, want)
			}
		}
		h := NewMaskedHasher()
		if h.HashMasked(key, mask) != h.HashMasked(k[:], mask) {
			t.Fatal("another flow is made of the part than of the key")
		}
	})
}
