package odp

import (
	"encoding/binary"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"dpifd/internal/netlink"
)

// encode returns the attributes that fn appends.
func encode(fn func(e *netlink.Encoder)) []byte {
	var e netlink.Encoder
	fn(&e)
	if err := e.Err(); err != nil {
		panic(err)
	}
	return e.Bytes()
}

var (
	macA = MAC{0x02, 0x10, 0x20, 0x30, 0x40, 0x5a}
	macB = MAC{0x52, 0x54, 0x00, 0xc0, 0xff, 0xee}
)

// frame describes a test key in the form that the kernel writes (__ovs_nla_put_key,
// net/openvswitch/flow_netlink.c, Linux 6.1).
type frame struct {
	port      PortNo
	src, dst  MAC
	tags      []uint16 // TCIs, outer first
	etherType uint16   // 0: an 802.2 frame
	l3        []byte   // OVS_KEY_ATTR_IPV4
	mark      uint32
}

func (f frame) key() []byte {
	return encode(func(e *netlink.Encoder) {
		e.Uint32(KeyAttrRecircID, 0)
		e.Uint32(KeyAttrDPHash, 0)
		e.Uint32(KeyAttrPriority, 0)
		AppendInPort(e, f.port)
		e.Uint32(KeyAttrSkbMark, f.mark)
		AppendEthernet(e, f.src, f.dst)
		f.appendTagged(e, f.tags)
	})
}

func (f frame) appendTagged(e *netlink.Encoder, tags []uint16) {
	if len(tags) > 0 {
		AppendEthertype(e, 0x8100)
		AppendVLAN(e, tags[0])
		e.Nested(KeyAttrEncap, func(e *netlink.Encoder) {
			if tags[0] != 0 { // nothing follows a truncated tag
				f.appendTagged(e, tags[1:])
			}
		})
		return
	}
	if f.etherType != 0 {
		AppendEthertype(e, f.etherType)
	}
	if f.l3 != nil {
		e.Attr(KeyAttrIPv4, f.l3)
	}
}

func TestParseKey(t *testing.T) {
	ipv4 := []byte{10, 0, 0, 1, 10, 0, 0, 2, 6, 0, 64, 0}
	eth := func(e *netlink.Encoder) { AppendEthernet(e, macA, macB) }
	tests := []struct {
		name string
		key  []byte
		want Key
		err  error
	}{
		{
			name: "IPv4",
			key:  frame{port: 7, src: macA, dst: macB, etherType: 0x0800, l3: ipv4}.key(),
			want: Key{InPort: 7, EthSrc: macA, EthDst: macB, EtherType: 0x0800, HasEtherType: true, HasRecircID: true},
		},
		{
			name: "802.2",
			key:  frame{port: 65534, src: macB, dst: macA}.key(),
			want: Key{InPort: 65534, EthSrc: macB, EthDst: macA, HasRecircID: true},
		},
		{
			name: "tagged",
			key:  frame{port: 1, src: macA, dst: macB, tags: []uint16{0x1064}, etherType: 0x86dd}.key(),
			want: Key{InPort: 1, EthSrc: macA, EthDst: macB, EtherType: 0x86dd, HasEtherType: true, TCI: 0x1064, HasVLAN: true, HasRecircID: true},
		},
		{
			name: "two tags",
			key:  frame{port: 3, src: macA, dst: macB, tags: []uint16{0x300a, 0x1fff}, etherType: 0x0806}.key(),
			want: Key{InPort: 3, EthSrc: macA, EthDst: macB, EtherType: 0x0806, HasEtherType: true, TCI: 0x300a, HasVLAN: true, HasRecircID: true},
		},
		{
			name: "truncated tag",
			key:  frame{port: 3, src: macA, dst: macB, tags: []uint16{0}}.key(),
			want: Key{InPort: 3, EthSrc: macA, EthDst: macB, HasVLAN: true, HasRecircID: true},
		},
		{
			name: "recirculated",
			key: encode(func(e *netlink.Encoder) {
				AppendRecircID(e, 0x64706966)
				AppendInPort(e, 9)
				eth(e)
			}),
			want: Key{InPort: 9, EthSrc: macA, EthDst: macB, RecircID: 0x64706966, HasRecircID: true},
		},
		{
			name: "attributes of later kernels",
			key: encode(func(e *netlink.Encoder) {
				e.Uint64(77, 1)
				AppendInPort(e, 9)
				e.Flag(4000)
				eth(e)
				e.Attr(200, []byte{1, 2, 3})
			}),
			want: Key{InPort: 9, EthSrc: macA, EthDst: macB},
		},
		{
			name: "attributes twice",
			key: encode(func(e *netlink.Encoder) {
				AppendInPort(e, 9)
				AppendEthernet(e, macA, macB)
				AppendInPort(e, 10)
				AppendEthernet(e, macB, macB)
			}),
			want: Key{InPort: 9, EthSrc: macA, EthDst: macB},
		},
		{name: "empty", err: ErrNoInPort},
		{name: "no in-port", key: encode(eth), err: ErrNoInPort},
		{name: "short in-port", key: encode(func(e *netlink.Encoder) { e.Uint16(KeyAttrInPort, 1); eth(e) }), err: ErrNoInPort},
		{name: "no Ethernet", key: encode(func(e *netlink.Encoder) { AppendInPort(e, 1) }), err: ErrNoEthernet},
		{name: "short Ethernet", key: encode(func(e *netlink.Encoder) { AppendInPort(e, 1); e.Attr(KeyAttrEthernet, macA[:]) }), err: ErrNoEthernet},
		{name: "long Ethernet", key: encode(func(e *netlink.Encoder) { AppendInPort(e, 1); e.Attr(KeyAttrEthernet, make([]byte, 13)) }), err: ErrNoEthernet},
		{name: "short TCI", key: encode(func(e *netlink.Encoder) { AppendInPort(e, 1); eth(e); e.Uint8(KeyAttrVLAN, 1) }), err: errVLAN},
		{name: "long EtherType", key: encode(func(e *netlink.Encoder) { AppendInPort(e, 1); eth(e); e.Uint32(KeyAttrEthertype, 1) }), err: errEthertype},
		{name: "three tags", key: frame{port: 3, tags: []uint16{0x1001, 0x1002, 0x1003}}.key(), err: errNesting},
		{name: "cut", key: frame{port: 7, src: macA, dst: macB}.key()[:40], err: netlink.ErrMalformed},
		{
			name: "fault inside ENCAP",
			key:  encode(func(e *netlink.Encoder) { AppendInPort(e, 1); eth(e); e.Attr(KeyAttrEncap, []byte{9, 0, 6, 0}) }),
			err:  netlink.ErrMalformed,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := Key{TCI: 5, HasVLAN: true, HasEtherType: true} // left from another key
			err := ParseKey(tt.key, &got)
			if !errors.Is(err, tt.err) {
				t.Fatalf("error %v, want %v", err, tt.err)
			}
			if err != nil {
				if !errors.Is(err, netlink.ErrMalformed) {
					t.Errorf("error %v does not match ErrMalformed", err)
				}
				return
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if port, err := InPort(tt.key); port != got.InPort || err != nil {
				t.Errorf("InPort: %v, %v", port, err)
			}
		})
	}
}

func TestInPort(t *testing.T) {
	for _, tt := range []struct {
		key  []byte
		want PortNo
		err  error
	}{
		{key: encode(func(e *netlink.Encoder) { e.Uint32(KeyAttrPriority, 8); AppendInPort(e, 513) }), want: 513},
		{key: encode(func(e *netlink.Encoder) { e.Uint32(KeyAttrPriority, 8) }), err: ErrNoInPort},
		{key: []byte{1, 0, 3, 0}, err: ErrNoInPort},
		{key: encode(func(e *netlink.Encoder) { e.Uint16(KeyAttrInPort, 3); AppendInPort(e, 4) }), err: ErrNoInPort},
	} {
		if got, err := InPort(tt.key); got != tt.want || !errors.Is(err, tt.err) {
			t.Errorf("InPort(%x): %v, %v; want %v, %v", tt.key, got, err, tt.want, tt.err)
		}
	}
}

func TestEncode(t *testing.T) {
	got := encode(func(e *netlink.Encoder) {
		AppendInPortMask(e)
		AppendEthernet(e, macA, macB)
		AppendOutput(e, 0x01020304)
	})
	var want []byte
	attr := func(typ uint16, b ...byte) {
		want = binary.NativeEndian.AppendUint16(want, uint16(4+len(b)))
		want = binary.NativeEndian.AppendUint16(want, typ)
		want = append(want, b...)
	}
	attr(3, 0xff, 0xff, 0xff, 0xff)
	attr(4, 0x02, 0x10, 0x20, 0x30, 0x40, 0x5a, 0x52, 0x54, 0x00, 0xc0, 0xff, 0xee)
	attr(1, binary.NativeEndian.AppendUint32(nil, 0x01020304)...)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if n := len(encode(func(e *netlink.Encoder) { AppendOutput(e, 1) })); n != OutputLen {
		t.Errorf("an output has %d bytes, not %d", n, OutputLen)
	}
}

func TestMAC(t *testing.T) {
	for _, tt := range []struct {
		mac                        MAC
		s                          string
		v                          uint64
		multicast, broadcast, zero bool
	}{
		{mac: MAC{}, s: "00:00:00:00:00:00", zero: true},
		{mac: macB, s: "52:54:00:c0:ff:ee", v: 0x525400c0ffee},
		{mac: MAC{0x01, 0x80, 0xc2, 0, 0, 0x0e}, s: "01:80:c2:00:00:0e", v: 0x0180c200000e, multicast: true},
		{mac: MACFromUint64(1<<48 - 1), s: "ff:ff:ff:ff:ff:ff", v: 0xffffffffffff, multicast: true, broadcast: true},
		{mac: MACFromUint64(0xffff_fefffffffffe), s: "fe:ff:ff:ff:ff:fe", v: 0xfefffffffffe},
	} {
		m := tt.mac
		if m.String() != tt.s || m.Uint64() != tt.v || m.IsMulticast() != tt.multicast ||
			m.IsBroadcast() != tt.broadcast || m.IsZero() != tt.zero || MACFromUint64(m.Uint64()) != m {
			t.Errorf("%v: %x multicast %v broadcast %v zero %v", m, m.Uint64(), m.IsMulticast(), m.IsBroadcast(), m.IsZero())
		}
	}
}

func TestParseKeyAllocs(t *testing.T) {
	good := frame{port: 3, src: macA, dst: macB, tags: []uint16{0x1001, 0x1002}, etherType: 0x0800}.key()
	bad := encode(func(e *netlink.Encoder) { AppendInPort(e, 1) })
	var k Key
	if n := testing.AllocsPerRun(100, func() {
		if ParseKey(good, &k) != nil || ParseKey(bad, &k) == nil {
			t.Fatal("unexpected result")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func FuzzParseKey(f *testing.F) {
	f.Add(frame{port: 7, src: macA, dst: macB, etherType: 0x0800}.key())
	f.Add(frame{port: 7, src: macA, dst: macB, tags: []uint16{0x1001, 0x1002}}.key())
	f.Add([]byte{8, 0, 3, 0, 1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		var k, again Key
		if err := ParseKey(b, &k); err != nil {
			if !errors.Is(err, netlink.ErrMalformed) {
				t.Fatalf("error %v does not match ErrMalformed", err)
			}
			return
		}
		f := frame{port: k.InPort, src: k.EthSrc, dst: k.EthDst}
		if k.HasVLAN && k.TCI != 0 {
			f.tags = []uint16{k.TCI}
		}
		if k.HasEtherType {
			f.etherType = k.EtherType
		}
		if port, err := InPort(b); err != nil || port != k.InPort {
			t.Fatalf("InPort %v, %v; ParseKey %v", port, err, k.InPort)
		}
		if err := ParseKey(f.key(), &again); err != nil {
			t.Fatal(err)
		}
		// frame cannot express these.
		k.HasEtherType = k.EtherType != 0
		k.HasVLAN = k.TCI != 0
		if k != again {
			t.Fatalf("%+v was parsed as %+v", k, again)
		}
	})
}
