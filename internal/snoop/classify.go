package snoop

import (
	"encoding/binary"
	"net/netip"

	"dpifd/internal/odp"
)

// Class is the way in which snooping treats a multicast packet.
type Class uint8

const (
	// Flooded packets go to all ports: their group has link scope, or they belong to no group.
	Flooded Class = iota
	// ToGroup packets go to the members of a group.
	ToGroup
	// Control packets are IGMP and MLD messages: each one must be an upcall.
	Control
)

// Offsets in the structures of linux/openvswitch.h, Linux 6.1.
const (
	dstMACAt                         = 6
	ipv4DstAt, ipv4ProtoAt           = 4, 8
	ipv6DstAt, ipv6ProtoAt, ipv6Frag = 16, 36, 39
	fragLater                        = 2 // enum ovs_frag_type
)

// Classify returns the class and the group of a multicast packet with the flow key k. It adds
// the bits that it reads to the mask m, in this order:
//
//	destination MAC    two bytes; of 01:00 the third; of 01:00:5e one bit more
//	IP multicast MAC   EtherType
//	IPv4               protocol and, of what is not IGMP, destination
//	IPv6               protocol and fragment
//	ICMPv6             type, except later fragments
//	IPv6 but not MLD   the destination's scope, and the whole if beyond the link
//
// All packets that have these bits in common have the same class, with the same mask.
func Classify(k, m *odp.Packed) (Class, netip.Addr) {
	p := packet{k, m}
	typ := uint16(typeIPv6)
	switch [2]byte(p.read(odp.KeyAttrEthernet, dstMACAt, 2)) {
	case [2]byte{0x33, 0x33}:
	case [2]byte{0x01, 0x00}:
		if p.read(odp.KeyAttrEthernet, dstMACAt+2, 1)[0] != 0x5e {
			return Flooded, netip.Addr{}
		}
		const half = 0x80 // IP multicast uses only the lower half of 01:00:5e (RFC 1112, 6.4)
		m.Part(odp.KeyAttrEthernet)[dstMACAt+3] |= half
		if k.Part(odp.KeyAttrEthernet)[dstMACAt+3]&half != 0 {
			return Flooded, netip.Addr{}
		}
		typ = typeIPv4
	default:
		return Flooded, netip.Addr{}
	}
	switch {
	case binary.BigEndian.Uint16(p.read(odp.KeyAttrEthertype, 0, 2)) != typ:
		return Flooded, netip.Addr{}
	case typ == typeIPv4:
		return p.classifyIPv4()
	}
	return p.classifyIPv6()
}

// packet is a flow key and the mask of the bits read.
type packet struct{ k, m *odp.Packed }

func (p packet) read(attr uint16, off, n int) []byte {
	mask := p.m.Part(attr)[off : off+n]
	for i := range mask {
		mask[i] = 0xff
	}
	return p.k.Part(attr)[off : off+n]
}

func (p packet) classifyIPv4() (Class, netip.Addr) {
	if p.read(odp.KeyAttrIPv4, ipv4ProtoAt, 1)[0] == protoIGMP {
		return Control, netip.Addr{}
	}
	group := netip.AddrFrom4([4]byte(p.read(odp.KeyAttrIPv4, ipv4DstAt, 4)))
	if !group.IsMulticast() || IsLinkScope(group) {
		return Flooded, netip.Addr{}
	}
	return ToGroup, group
}

func (p packet) classifyIPv6() (Class, netip.Addr) {
	proto, frag := p.read(odp.KeyAttrIPv6, ipv6ProtoAt, 1)[0], p.read(odp.KeyAttrIPv6, ipv6Frag, 1)[0]
	if proto == protoICMPv6 && frag != fragLater && isMLD(p.read(odp.KeyAttrICMPv6, 0, 1)[0]) {
		return Control, netip.Addr{}
	}
	if scope := p.read(odp.KeyAttrIPv6, ipv6DstAt, 2); scope[0] != 0xff || isLinkScope6(scope[1]) {
		return Flooded, netip.Addr{}
	}
	return ToGroup, netip.AddrFrom16([16]byte(p.read(odp.KeyAttrIPv6, ipv6DstAt, 16)))
}
