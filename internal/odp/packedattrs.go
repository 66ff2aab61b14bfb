package odp

import (
	"encoding/binary"

	"dpifd/internal/netlink"
)

// payloadUnit reports whether the unit comes after the tags.
func (u *unit) payloadUnit() bool { return u.off >= offEthertype && u.attr != KeyAttrCTZone }

// appendUnits appends the units of p that are set in mask: those after the tags or the others,
// except one.
func (p *Packed) appendUnits(e *netlink.Encoder, mask *Packed, payload bool, but uint16) {
	for i := range units {
		u := &units[i]
		if u.payloadUnit() == payload && u.attr != KeyAttrVLAN && u.attr != but && mask.hasUnit(u.attr) {
			e.Attr(u.attr, p[u.off:u.off+u.size])
		}
	}
}

// tags returns how many VLAN tags packets of the key p have.
func (p *Packed) tags() (n int) {
	for n < maxNesting && p[offTCI+4*n]&0x10 != 0 {
		n++
	}
	return n
}

// deepest returns the deepest of n tags after which the mask m reads anything that the kernel
// does not always match: 0 for none, n+1 for the payload.
func (m *Packed) deepest(n int) int {
	if m.hasPayload() {
		return n + 1
	}
	for ; n > 0; n-- {
		at := offTCI + 4*(n-1)
		if string(m[at:at+4]) != "\xff\xff\x00\x00" {
			break
		}
	}
	return n
}

func (m *Packed) hasPayload() bool {
	return !allZeros(m[offEthertype:offEthertype+2]) || !allZeros(m[offIPv4:])
}

// filler returns an attribute of the mask m, for packets like k, to put inside
// OVS_KEY_ATTR_ENCAP if that would be empty: the kernel skips an empty one and then refuses the
// tag before it. The kernel treats the attributes of all levels as one list. KeyAttrUnspec
// means that there is none, netlink.NoAttr that none is needed.
func (m *Packed) filler(k *Packed) uint16 {
	n := k.tags()
	if d := m.deepest(n); d == 0 || d > n {
		return netlink.NoAttr
	}
	for i := range units {
		if u := &units[i]; !u.payloadUnit() && u.attr != KeyAttrVLAN && m.hasUnit(u.attr) {
			return u.attr
		}
	}
	return KeyAttrUnspec
}

// AppendMask appends the mask m of a flow for packets like k.
func (m *Packed) AppendMask(e *netlink.Encoder, k *Packed) {
	n, filler := k.tags(), m.filler(k)
	m.appendUnits(e, m, false, filler)
	m.appendTags(e, 0, n, m.deepest(n), filler)
}

// appendTags appends the tags of a mask, from the given one of n on, and the attributes after
// them that the mask reads.
func (m *Packed) appendTags(e *netlink.Encoder, tag, n, deepest int, filler uint16) {
	switch {
	case tag == n:
		m.appendUnits(e, m, true, filler)
	case deepest > tag:
		at := offTCI + 4*tag
		e.Attr(KeyAttrEthertype, []byte{0xff, 0xff})
		e.Attr(KeyAttrVLAN, m[at:at+2])
		e.Nested(KeyAttrEncap, func(e *netlink.Encoder) { m.appendTags(e, tag+1, n, deepest, filler) })
		return
	}
	if tag > 0 && filler != netlink.NoAttr && filler != KeyAttrUnspec {
		u := unitOf[filler]
		e.Attr(u.attr, m[u.off:u.off+u.size])
	}
}

// AppendKey appends the key k of a flow with this mask, with everything that the kernel
// requires: the attributes that the mask reads, and the headers that EtherType and protocol
// imply (match_validate of net/openvswitch/flow_netlink.c, Linux 6.1). k has no bits outside
// the mask.
func (k *Packed) AppendKey(e *netlink.Encoder, mask *Packed) {
	k.appendUnits(e, mask, false, KeyAttrEthernet)
	e.Attr(KeyAttrEthernet, k[offEthernet:offEthertype])
	k.appendKeyTags(e, mask, 0, k.tags())
}

func (k *Packed) appendKeyTags(e *netlink.Encoder, mask *Packed, tag, n int) {
	if tag < n {
		at := offTCI + 4*tag
		e.Attr(KeyAttrEthertype, k[at+2:at+4])
		e.Attr(KeyAttrVLAN, k[at:at+2])
		e.Nested(KeyAttrEncap, func(e *netlink.Encoder) { k.appendKeyTags(e, mask, tag+1, n) })
		return
	}
	typ := binary.BigEndian.Uint16(k[offEthertype:])
	if typ == 0 {
		return // wildcarded, or an 802.2 frame, which has none
	}
	put := func(attrs ...uint16) {
		for _, a := range attrs {
			u := unitOf[a]
			e.Attr(a, k[u.off:u.off+u.size])
		}
	}
	put(KeyAttrEthertype)
	switch typ {
	case ethertypeARP, ethertypeRARP:
		put(KeyAttrARP)
	case 0x8847, 0x8848:
		e.Attr(KeyAttrMPLS, make([]byte, 4))
	case ethertypeIPv4:
		put(KeyAttrIPv4)
	case ethertypeIPv6:
		put(KeyAttrIPv6)
	}
	if at := protoAt(typ); at != 0 && k[at+3] != fragLater {
		put(k.transport(typ, k[at])...)
	}
}

// transport returns the attributes that a protocol implies.
func (k *Packed) transport(typ uint16, proto byte) []uint16 {
	switch {
	case proto == 6:
		return []uint16{KeyAttrTCP, KeyAttrTCPFlags}
	case proto == 17:
		return []uint16{KeyAttrUDP}
	case proto == 132:
		return []uint16{KeyAttrSCTP}
	case proto == 1 && typ == ethertypeIPv4:
		return []uint16{KeyAttrICMP}
	case proto != 58 || typ != ethertypeIPv6:
		return nil
	}
	if t := k[unitOf[KeyAttrICMPv6].off]; t == 135 || t == 136 {
		return []uint16{KeyAttrICMPv6, KeyAttrND}
	}
	return []uint16{KeyAttrICMPv6}
}
