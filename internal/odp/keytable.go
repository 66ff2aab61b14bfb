package odp

// The layouts are those of the structures of linux/openvswitch.h, Linux 6.12.

func number(size int, as form, native bool) *layout {
	return &layout{size: size, fields: []field{{size: size, form: as, native: native}}}
}

var (
	ethernetLayout = &layout{size: 12, fields: []field{
		{name: "src", off: 0, size: 6, form: macForm},
		{name: "dst", off: 6, size: 6, form: macForm},
	}}
	// Bit 12 of the TCI means that a tag is present; a text without it means that too.
	vlanLayout = &layout{size: 2, unset: []byte{0x10, 0}, fields: tciFields(0)}
	ipv4Layout = &layout{size: 12, fields: []field{
		{name: "src", off: 0, size: 4, form: ip4Form},
		{name: "dst", off: 4, size: 4, form: ip4Form},
		{name: "proto", off: 8, size: 1},
		{name: "tos", off: 9, size: 1, form: hexadecimal},
		{name: "ttl", off: 10, size: 1},
		{name: "frag", off: 11, size: 1, form: fragForm},
	}}
	ipv6Layout = &layout{size: 40, fields: []field{
		{name: "src", off: 0, size: 16, form: ip6Form},
		{name: "dst", off: 16, size: 16, form: ip6Form},
		{name: "label", off: 32, size: 4, form: hexadecimal, width: 20},
		{name: "proto", off: 36, size: 1},
		{name: "tclass", off: 37, size: 1, form: hexadecimal},
		{name: "hlimit", off: 38, size: 1},
		{name: "frag", off: 39, size: 1, form: fragForm},
	}}
	portsLayout = &layout{size: 4, fields: []field{
		{name: "src", off: 0, size: 2},
		{name: "dst", off: 2, size: 2},
	}}
	icmpLayout = &layout{size: 2, fields: []field{
		{name: "type", off: 0, size: 1},
		{name: "code", off: 1, size: 1},
	}}
	arpLayout = &layout{size: 24, fields: []field{
		{name: "sip", off: 0, size: 4, form: ip4Form},
		{name: "tip", off: 4, size: 4, form: ip4Form},
		{name: "op", off: 8, size: 2},
		{name: "sha", off: 10, size: 6, form: macForm},
		{name: "tha", off: 16, size: 6, form: macForm},
	}}
	ndLayout = &layout{size: 28, fields: []field{
		{name: "target", off: 0, size: 16, form: ip6Form},
		{name: "sll", off: 16, size: 6, form: macForm},
		{name: "tll", off: 22, size: 6, form: macForm},
	}}
	mplsLayout     = &layout{size: 4, array: true, allMasks: true, fields: lseFields()}
	tcpFlagsLayout = &layout{size: 2, fields: []field{{size: 2, form: flagsForm, width: 12, names: []string{
		"fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]",
	}}}}
	ctStateLayout = &layout{size: 4, fields: []field{{size: 4, form: flagsForm, native: true, hexV: true, names: []string{
		"new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat",
	}}}}
	ctLabelsLayout = &layout{size: 16, fields: []field{{size: 16, form: wide, native: true}}}
	ctTuple4Layout = &layout{size: 16, fields: []field{
		{name: "src", off: 0, size: 4, form: ip4Form},
		{name: "dst", off: 4, size: 4, form: ip4Form},
		{name: "proto", off: 12, size: 1},
		{name: "tp_src", off: 8, size: 2},
		{name: "tp_dst", off: 10, size: 2},
	}}
	ctTuple6Layout = &layout{size: 40, fields: []field{
		{name: "src", off: 0, size: 16, form: ip6Form},
		{name: "dst", off: 16, size: 16, form: ip6Form},
		{name: "proto", off: 36, size: 1},
		{name: "src_port", alias: "tp_src", off: 32, size: 2},
		{name: "dst_port", alias: "tp_dst", off: 34, size: 2},
	}}
	exthdrsLayout = &layout{size: 2, fields: []field{{size: 2, form: flagsForm, native: true, names: []string{
		"nonext", "esp", "auth", "dest", "frag", "router", "hop", "unrep", "unseq",
	}}}}
	packetTypeLayout = &layout{size: 4, fields: []field{
		{name: "ns", off: 0, size: 2},
		{name: "id", off: 2, size: 2, form: hexadecimal},
	}}
)

// tciFields are those of a VLAN TCI.
func tciFields(off int) []field {
	return []field{
		{name: "vid", off: off, size: 2, width: 12, maskForm: hexPlain},
		{name: "pcp", off: off, size: 2, width: 3, shift: 13, maskForm: hexPlain},
		{name: "cfi", off: off, size: 2, width: 1, shift: 12, form: presentForm},
	}
}

// lseFields are those of an MPLS label stack entry.
func lseFields() []field {
	return []field{
		{name: "label", size: 4, width: 20, shift: 12, maskForm: hexPlain},
		{name: "tc", size: 4, width: 3, shift: 9, form: small},
		{name: "ttl", size: 4, width: 8, maskForm: hexPlain},
		{name: "bos", size: 4, width: 1, shift: 8, form: small},
	}
}

// keyAttr is one attribute of a key as the text has it.
type keyAttr struct {
	typ  uint16
	name string
	syntax
}

// keyTable has the attributes of enum ovs_key_attr, in any order.
var keyTable []keyAttr

// It is filled by init because encap(...) contains keys.
func init() {
	keyTable = []keyAttr{
		{KeyAttrEncap, "encap", keySyntax{}},
		{KeyAttrPriority, "skb_priority", number(4, hexadecimal, true)},
		{KeyAttrInPort, "in_port", number(4, portForm, true)},
		{KeyAttrEthernet, "eth", ethernetLayout},
		{KeyAttrVLAN, "vlan", vlanLayout},
		{KeyAttrEthertype, "eth_type", number(2, hex4, false)},
		{KeyAttrIPv4, "ipv4", ipv4Layout},
		{KeyAttrIPv6, "ipv6", ipv6Layout},
		{KeyAttrTCP, "tcp", portsLayout},
		{KeyAttrUDP, "udp", portsLayout},
		{KeyAttrICMP, "icmp", icmpLayout},
		{KeyAttrICMPv6, "icmpv6", icmpLayout},
		{KeyAttrARP, "arp", arpLayout},
		{KeyAttrND, "nd", ndLayout},
		{KeyAttrSkbMark, "skb_mark", number(4, hexadecimal, true)},
		{KeyAttrTunnel, "tunnel", tunnelSyntax},
		{KeyAttrSCTP, "sctp", portsLayout},
		{KeyAttrTCPFlags, "tcp_flags", tcpFlagsLayout},
		{KeyAttrDPHash, "dp_hash", number(4, hexadecimal, true)},
		{KeyAttrRecircID, "recirc_id", number(4, hexadecimal, true)},
		{KeyAttrMPLS, "mpls", mplsLayout},
		{KeyAttrCTState, "ct_state", ctStateLayout},
		{KeyAttrCTZone, "ct_zone", number(2, hexadecimal, true)},
		{KeyAttrCTMark, "ct_mark", number(4, hexadecimal, true)},
		{KeyAttrCTLabels, "ct_label", ctLabelsLayout},
		{KeyAttrCTOrigTupleIPv4, "ct_tuple4", ctTuple4Layout},
		{KeyAttrCTOrigTupleIPv6, "ct_tuple6", ctTuple6Layout},
		{KeyAttrNSH, "nsh", nshSyntax},
		{KeyAttrPacketType, "packet_type", packetTypeLayout},
		{KeyAttrIPv6ExtHdrs, "ipv6_exthdrs", exthdrsLayout},
	}
}

// keyByType returns the attribute's entry, nil if there is none.
func keyByType(typ uint16) *keyAttr {
	for i := range keyTable {
		if keyTable[i].typ == typ {
			return &keyTable[i]
		}
	}
	return nil
}

func keyByName(name string) *keyAttr {
	for i := range keyTable {
		if keyTable[i].name == name {
			return &keyTable[i]
		}
	}
	return nil
}
