package odp

import (
	"encoding/binary"

	"dpifd/internal/netlink"
)

// Packed is a flow key or a mask with each field at a fixed offset, as in the kernel's struct
// sw_flow_key. Missing fields are zero. It does not reference the attributes that it was packed
// from. Tunnel, NSH, MPLS, the original tuple of a connection and IPv6 extension headers are
// not included.
type Packed [packedLen]byte

// unit is a part of a Packed that decisions read as a whole.
type unit struct {
	attr, off, size uint16
	l4              bool // of a transport header, which later fragments lack
}

// Offsets of fields that are not identified by their attribute alone: both tags, and the
// fragment byte of the network headers (offsetof(struct ovs_key_ipv4, ipv4_frag), and of
// ovs_key_ipv6, linux/openvswitch.h).
const (
	offTCI       = 44
	offTPID      = 46
	offInnerTCI  = 48
	offInnerTPID = 50
	offEthernet  = 52
	offEthertype = 64
	offIPv4      = 68
	offARPOp     = 120 + 8
	offIPv4Frag  = 68 + 11
	offIPv6Frag  = 80 + 39
	packedLen    = 200
)

// units are in the order in which a decision reads them: first those that distinguish most
// packets, and each unit that the kernel matches only together with an exact match of another
// one (match_validate, net/openvswitch/flow_netlink.c, 6.1) after that one.
var units = [...]unit{
	{attr: KeyAttrInPort, off: 0, size: 4},
	{attr: KeyAttrRecircID, off: 4, size: 4},
	{attr: KeyAttrDPHash, off: 8, size: 4},
	{attr: KeyAttrPriority, off: 12, size: 4},
	{attr: KeyAttrSkbMark, off: 16, size: 4},
	{attr: KeyAttrCTState, off: 20, size: 4},
	{attr: KeyAttrCTMark, off: 24, size: 4},
	{attr: KeyAttrCTLabels, off: 28, size: 16},
	{attr: KeyAttrVLAN, off: offTCI, size: 8}, // both tags
	{attr: KeyAttrEthernet, off: 52, size: 12},
	{attr: KeyAttrEthertype, off: offEthertype, size: 2},
	{attr: KeyAttrCTZone, off: 66, size: 2},
	{attr: KeyAttrIPv4, off: 68, size: 12},
	{attr: KeyAttrIPv6, off: 80, size: 40},
	{attr: KeyAttrARP, off: 120, size: 24},
	{attr: KeyAttrTCP, off: 144, size: 4, l4: true},
	{attr: KeyAttrUDP, off: 148, size: 4, l4: true},
	{attr: KeyAttrSCTP, off: 152, size: 4, l4: true},
	{attr: KeyAttrICMP, off: 156, size: 2, l4: true},
	{attr: KeyAttrICMPv6, off: 158, size: 2, l4: true},
	{attr: KeyAttrTCPFlags, off: 160, size: 2, l4: true},
	{attr: KeyAttrND, off: 164, size: 28, l4: true},
}

// unitOf finds a unit by its attribute; its tags have none.
var unitOf = func() (by [KeyAttrIPv6ExtHdrs + 1]*unit) {
	for i := range units {
		if units[i].attr != KeyAttrVLAN {
			by[units[i].attr] = &units[i]
		}
	}
	return by
}()

// Pack sets p to the key b, a list of OVS_KEY_ATTR_* attributes, without those that Packed does
// not include. An error matches netlink.ErrMalformed; only then Pack allocates.
func (p *Packed) Pack(b []byte) error {
	*p = Packed{}
	_, err := p.pack(b, false)
	return err
}

// PackMask sets p to the mask b as the kernel completes it: a named in-port, EtherType or TPID
// is exact, and so is a TCI that is not named (ovs_nla_get_match). It returns an attribute with
// bits set that Packed does not include, 0 if there is none.
func (p *Packed) PackMask(b []byte) (other uint16, err error) {
	*p = Packed{}
	other, err = p.pack(b, true)
	fill := func(off, size int) {
		for i := range size {
			if p[off+i] != 0 {
				for j := range size {
					p[off+j] = 0xff
				}
				return
			}
		}
	}
	fill(offEthertype, 2)
	fill(offTPID, 2)
	fill(offInnerTPID, 2)
	return other, err
}

func (p *Packed) pack(b []byte, mask bool) (other uint16, err error) {
	for depth := 0; ; depth++ {
		var inner, typ, tci []byte
		it := netlink.NewAttrs(b)
		for it.Next() {
			data := it.Data()
			switch t := it.Type(); {
			case t == KeyAttrEncap:
				inner = data
			case t == KeyAttrVLAN:
				tci = data
			case t == KeyAttrEthertype:
				typ = data
			case int(t) < len(unitOf) && unitOf[t] != nil:
				u := unitOf[t]
				copy(p[u.off:u.off+u.size], data)
				if mask && t == KeyAttrInPort {
					copy(p[u.off:u.off+u.size], "\xff\xff\xff\xff")
				}
			case !allZeros(data):
				other = t
			}
		}
		if it.Err() != nil {
			return other, it.Err()
		}
		tagged := inner != nil || tci != nil
		if depth == maxNesting {
			if tagged {
				return other, errNesting
			}
		} else {
			at := offTCI + 4*depth
			if tagged {
				copy(p[at:at+2], tci)
				copy(p[at+2:at+4], typ)
			}
			if mask && tci == nil {
				p[at], p[at+1] = 0xff, 0xff
			}
		}
		if !tagged {
			copy(p[offEthertype:offEthertype+2], typ)
		}
		if inner == nil {
			if mask && depth+1 < maxNesting {
				p[offInnerTCI], p[offInnerTCI+1] = 0xff, 0xff
			}
			return other, nil
		}
		b = inner
	}
}

// Part returns where the fields of an attribute are in p, in the layout of its payload; nil
// for an attribute without a place, and for VLAN tags. The caller may write there.
func (p *Packed) Part(attr uint16) []byte {
	if int(attr) >= len(unitOf) || unitOf[attr] == nil {
		return nil
	}
	u := unitOf[attr]
	return p[u.off : u.off+u.size]
}

// word returns 8 bytes of p; words cover all of it.
func (p *Packed) word(i int) uint64 { return binary.NativeEndian.Uint64(p[8*i:]) }

// Matches reports whether a packet with key p belongs to the flow.
func (p *Packed) Matches(key, mask *Packed) bool {
	for i := range packedLen / 8 {
		if (p.word(i)^key.word(i))&mask.word(i) != 0 {
			return false
		}
	}
	return true
}

// Overlap reports whether a packet may belong to both flows.
func Overlap(key1, mask1, key2, mask2 *Packed) bool {
	for i := range packedLen / 8 {
		if (key1.word(i)^key2.word(i))&mask1.word(i)&mask2.word(i) != 0 {
			return false
		}
	}
	return true
}

// Within reports whether each packet of the first flow belongs to the second.
func Within(key1, mask1, key2, mask2 *Packed) bool {
	for i := range packedLen / 8 {
		if mask2.word(i)&^mask1.word(i) != 0 {
			return false
		}
	}
	return Overlap(key1, mask1, key2, mask2)
}

// Narrow adds bits to the mask m of a flow for packets like k, so that no packet of the flow
// matches key and mask; k must not match them. The bits are added unit by unit and depend only
// on bits that were read: any packet of the narrowed flow would narrow it in the same way.
func (m *Packed) Narrow(k, key, mask *Packed) {
	for i := range packedLen / 8 {
		if (k.word(i)^key.word(i))&mask.word(i)&m.word(i) != 0 {
			return
		}
	}
	for i := range units {
		u := &units[i]
		part := func(p *Packed) []byte { return p[u.off : u.off+u.size] }
		if allZeros(part(mask)) {
			continue
		}
		if u.l4 && m.readsLaterFragment(k) {
			return
		}
		apart := false
		for j, bits := range part(mask) {
			part(m)[j] |= bits
			apart = apart || (part(k)[j]^part(key)[j])&bits != 0
		}
		if apart {
			return
		}
	}
}

// readsLaterFragment reports whether k has no transport header because it is a later fragment,
// and adds the bits that show this. The kernel's key has zeros there, and it refuses a mask for
// them.
func (m *Packed) readsLaterFragment(k *Packed) bool {
	frag := offIPv4Frag
	if binary.BigEndian.Uint16(k[offEthertype:]) == ethertypeIPv6 {
		frag = offIPv6Frag
	}
	m[frag] = 0xff
	return k[frag] == fragLater
}

// EtherTypes, and enum ovs_frag_type of linux/openvswitch.h.
const (
	ethertypeIPv4 = 0x0800
	ethertypeARP  = 0x0806
	ethertypeRARP = 0x8035
	ethertypeIPv6 = 0x86dd
	fragLater     = 2
)
