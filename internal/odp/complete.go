package odp

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"slices"

	"dpifd/internal/netlink"
)

// givenAttr is one attribute of a key, with a mask of the bits that were added.
type givenAttr struct {
	typ         uint16
	value, mask []byte
}

// protocolAt has the offset of the protocol in the attributes of IP headers (struct ovs_key_ipv4
// and ovs_key_ipv6, linux/openvswitch.h) and their sizes.
var protocolAt = map[uint16]struct{ place, size int }{KeyAttrIPv4: {8, 12}, KeyAttrIPv6: {36, 40}}

// Complete adds to the key of a packet what people leave out of its text: Ethernet addresses, which
// become zeros, the EtherType that other attributes imply or else IPv4's, and the protocol that a
// transport header implies. mask is the mask that ParseKey returned with the key: attributes in it
// are not missing. added is the text of the additions, "" if there are none.
func Complete(key, mask []byte) (full []byte, added string) {
	var list []givenAttr
	walk(key, func(typ uint16, value []byte) { list = append(list, givenAttr{typ, bytes.Clone(value), nil}) })
	find := func(typ uint16) *givenAttr {
		if i := slices.IndexFunc(list, func(a givenAttr) bool { return a.typ == typ }); i >= 0 {
			return &list[i]
		}
		return nil
	}
	has := func(types ...uint16) bool {
		return slices.ContainsFunc(types, func(t uint16) bool { return find(t) != nil })
	}
	if !has(KeyAttrEthernet) {
		list = append(list, givenAttr{KeyAttrEthernet, make([]byte, ethernetLen), allBits(ethernetLen)})
	}
	ethertype := uint16(ethertypeIPv4)
	switch {
	case has(KeyAttrEthertype):
		if v := find(KeyAttrEthertype).value; len(v) == 2 {
			ethertype = binary.BigEndian.Uint16(v)
		}
	case netlink.FindAttr(mask, KeyAttrEthertype) != nil:
		ethertype = 0 // explicitly a frame without EtherType
	default:
		switch {
		case has(KeyAttrVLAN):
			ethertype = 0x8100
		case has(KeyAttrIPv6, KeyAttrICMPv6, KeyAttrND):
			ethertype = ethertypeIPv6
		case has(KeyAttrARP):
			ethertype = ethertypeARP
		}
		list = append(list, givenAttr{KeyAttrEthertype, binary.BigEndian.AppendUint16(nil, ethertype), allBits(2)})
	}
	for _, l4 := range transports {
		if has(l4.attr) {
			list = withProtocol(list, mask, ethertype, l4.proto)
			break
		}
	}
	slices.SortStableFunc(list, func(a, b givenAttr) int { return cmp.Compare(a.rank(), b.rank()) })
	var e, k, m netlink.Encoder
	for _, a := range list {
		e.Attr(a.typ, a.value)
		if a.mask != nil {
			k.Attr(a.typ, a.value)
			m.Attr(a.typ, a.mask)
		}
	}
	if k.Len() == 0 {
		return e.Bytes(), ""
	}
	return e.Bytes(), string(Text{}.AppendKey(nil, k.Bytes(), m.Bytes()))
}

// withProtocol adds a protocol to the IP header that packets of the EtherType have.
func withProtocol(list []givenAttr, mask []byte, ethertype uint16, proto byte) []givenAttr {
	typ := uint16(KeyAttrIPv4)
	switch ethertype {
	case ethertypeIPv4:
	case ethertypeIPv6:
		typ = KeyAttrIPv6
	default:
		return list
	}
	at := protocolAt[typ]
	i := slices.IndexFunc(list, func(a givenAttr) bool { return a.typ == typ })
	if i < 0 {
		i, list = len(list), append(list, givenAttr{typ: typ, value: make([]byte, at.size)})
	}
	a := &list[i]
	if given := netlink.FindAttr(mask, typ); len(a.value) == at.size && (len(given) != at.size || given[at.place] == 0) {
		a.mask = make([]byte, at.size)
		a.value[at.place], a.mask[at.place] = proto, 0xff
	}
	return list
}

// rank is the position of an attribute in the kernel's order.
func (a *givenAttr) rank() uint16 {
	switch {
	case a.typ == KeyAttrEncap:
		return 1 << 15
	case a.typ >= KeyAttrInPort && a.typ <= KeyAttrND || a.typ == KeyAttrSCTP || a.typ == KeyAttrTCPFlags:
		return a.typ
	}
	return 0
}
