package guard

import (
	"encoding/binary"
	"net/netip"

	"dpifd/internal/odp"
)

// Config says what a port may send. The zero value allows everything.
type Config struct {
	// MACs are the allowed sources of its frames, ARP packets and neighbour discovery. An empty
	// list allows all.
	MACs []odp.MAC
	// Addresses are the allowed sources of its IPv4 and IPv6 packets, senders of its ARP
	// packets and targets of its neighbour advertisements. An empty list allows all. If the
	// list has addresses of one family only, nothing of the other family is allowed.
	Addresses []netip.Prefix
	// NoDHCPServer refuses packets to the UDP ports of DHCP clients. NoRouterAdvertisements
	// refuses router advertisements and redirects of IPv6.
	NoDHCPServer, NoRouterAdvertisements bool
}

// IsZero reports whether a port may send everything.
func (c *Config) IsZero() bool {
	return len(c.MACs) == 0 && len(c.Addresses) == 0 && !c.NoDHCPServer && !c.NoRouterAdvertisements
}

// Rules are the rules of one port.
type Rules struct {
	macs       []prefix
	linkLayer  []prefix // macs, and zero for a missing option
	byAddress  bool
	ipv4, ipv6 []prefix
	noServer   bool
	noRouter   bool
}

// Reasons why a packet is refused, as logs and traces show them.
const (
	SourceMAC           = "source_mac_refused"
	SourceAddress       = "source_address_refused"
	ARPSender           = "arp_sender_refused"
	NDTarget            = "nd_target_refused"
	NDLinkLayer         = "nd_link_layer_refused"
	DHCPServer          = "dhcp_server_refused"
	RouterAdvertisement = "router_advertisement_refused"
	Fragments           = "fragments_refused" // fragments that hide their headers
	Tags                = "tags_refused"      // more than the kernel reads
)

// New returns the rules of c, nil if it allows everything.
func New(c *Config) *Rules {
	if c.IsZero() {
		return nil
	}
	r := &Rules{byAddress: len(c.Addresses) > 0, noServer: c.NoDHCPServer, noRouter: c.NoRouterAdvertisements}
	for _, m := range c.MACs {
		p := prefix{bits: 48}
		copy(p.addr[:], m[:])
		r.macs = append(r.macs, p)
	}
	r.macs = disjoint(r.macs)
	if len(r.macs) > 0 {
		r.linkLayer = append([]prefix{{bits: 48}}, r.macs...)
	}
	for _, a := range c.Addresses {
		p := prefix{bits: a.Bits()}
		list := &r.ipv6
		if a.Addr().Is4() {
			list = &r.ipv4
		}
		copy(p.addr[:], a.Masked().Addr().AsSlice())
		*list = append(*list, p)
	}
	r.ipv4, r.ipv6 = withUnspecified(r.ipv4, 32), withUnspecified(r.ipv6, 128)
	return r
}

// withUnspecified adds the zero address to a list that is not empty.
func withUnspecified(list []prefix, bits int) []prefix {
	if len(list) == 0 {
		return nil
	}
	return disjoint(append(list, prefix{bits: bits, unspecified: true}))
}

// Offsets and sizes in the structures of linux/openvswitch.h, Linux 6.1.
const (
	ipv4Proto, ipv4Frag                    = 8, 11
	ipv6Src, ipv6Proto, ipv6Frag           = 0, 36, 39
	arpSIP, arpTIP, arpSHA                 = 0, 4, 10
	udpDst                                 = 2
	ndTarget, ndSLL, ndTLL                 = 0, 16, 22
	ip4Size, ip6Size, macSize, portNumSize = 4, 16, 6, 2
)

// Numbers of protocols, and the value of enum ovs_frag_type for later fragments.
const (
	typeIPv4, typeARP, typeRARP, typeIPv6 = 0x0800, 0x0806, 0x8035, 0x86dd
	typeVLAN, typeServiceVLAN             = 0x8100, 0x88a8

	protoIGMP, protoUDP, protoICMPv6, protoNone = 2, 17, 58, 59

	fragNone, fragLater = 0, 2

	mldReport, mldDone, mldReport2    = 131, 132, 143
	routerSolicit, routerAdvert       = 133, 134
	neighbourSolicit, neighbourAdvert = 135, 136
	redirect                          = 137
)

// UDP ports. The list of DHCP client ports contains 0, the port of a first fragment without its
// UDP header.
var (
	dhcpServer    = udpPorts(67)
	dhcpClients   = udpPorts(68, 0)
	dhcpv6Clients = udpPorts(546, 0)
)

func udpPorts(list ...uint16) (out []prefix) {
	for _, n := range list {
		p := prefix{bits: 16, unspecified: n == 0}
		binary.BigEndian.PutUint16(p.addr[:], n)
		out = append(out, p)
	}
	return out
}

// Check returns the reason why a packet with key k is refused, "" if it is allowed. It adds the
// bits that it has read to m.
func (r *Rules) Check(k, m *odp.Packed) (reason string) {
	p := packet{k, m}
	if r.macs != nil && p.find(r.macs, odp.KeyAttrEthernet, 0, macSize) == nil {
		return SourceMAC
	}
	switch binary.BigEndian.Uint16(p.exact(odp.KeyAttrEthertype, 0, 2)) {
	case typeVLAN, typeServiceVLAN:
		return Tags
	case typeARP:
		return r.checkARP(p)
	case typeRARP:
		return r.checkHardware(p)
	case typeIPv4:
		return r.checkIPv4(p)
	case typeIPv6:
		return r.checkIPv6(p)
	}
	return ""
}

// packet is a key and the mask of the bits read.
type packet struct{ k, m *odp.Packed }

func (p packet) field(attr uint16, off, size int) (value, mask []byte) {
	return p.k.Part(attr)[off : off+size], p.m.Part(attr)[off : off+size]
}

// exact reads a field as a whole.
func (p packet) exact(attr uint16, off, size int) []byte {
	value, mask := p.field(attr, off, size)
	setBits(mask, 8*size)
	return value
}

func (p packet) byte(attr uint16, off int) byte { return p.exact(attr, off, 1)[0] }

// find looks up an address in list, and adds the bits that it reads to the mask.
func (p packet) find(list []prefix, attr uint16, off, size int) *prefix {
	value, mask := p.field(attr, off, size)
	return find(list, value, mask, addressStep)
}

// port returns the element of ports that is a UDP packet's destination, nil if there is none.
func (p packet) port(ports []prefix) *prefix {
	value, mask := p.field(odp.KeyAttrUDP, udpDst, portNumSize)
	return find(ports, value, mask, portStep)
}

// checkUDP refuses packets that go, or may go, to clients of DHCP.
func (p packet) checkUDP(clients []prefix, frag byte) string {
	switch port := p.port(clients); {
	case port == nil, port.unspecified && frag == fragNone:
		return ""
	case port.unspecified:
		return Fragments
	}
	return DHCPServer
}

func (r *Rules) checkHardware(p packet) string {
	if r.macs != nil && p.find(r.macs, odp.KeyAttrARP, arpSHA, macSize) == nil {
		return ARPSender
	}
	return ""
}

// checkARP checks ARP packets. A probe (RFC 5227) has no sender address: it is checked by the
// address that it asks for.
func (r *Rules) checkARP(p packet) string {
	if reason := r.checkHardware(p); reason != "" || !r.byAddress {
		return reason
	}
	a := p.find(r.ipv4, odp.KeyAttrARP, arpSIP, ip4Size)
	if a != nil && a.unspecified {
		a = p.find(r.ipv4, odp.KeyAttrARP, arpTIP, ip4Size)
	}
	if a == nil || a.unspecified {
		return ARPSender
	}
	return ""
}

// checkIPv4 checks IPv4 packets. A host that has no address yet may send to DHCP servers, and
// IGMP.
func (r *Rules) checkIPv4(p packet) string {
	unspecified := false
	if r.byAddress {
		a := p.find(r.ipv4, odp.KeyAttrIPv4, 0, ip4Size)
		if a == nil {
			return SourceAddress
		}
		unspecified = a.unspecified
	}
	if !unspecified && !r.noServer {
		return ""
	}
	proto := p.byte(odp.KeyAttrIPv4, ipv4Proto)
	if proto != protoUDP {
		if unspecified && proto != protoIGMP {
			return SourceAddress
		}
		return ""
	}
	frag := p.byte(odp.KeyAttrIPv4, ipv4Frag)
	switch {
	case unspecified && (frag != fragNone || p.port(dhcpServer) == nil):
		return SourceAddress
	case !unspecified && frag != fragLater:
		return p.checkUDP(dhcpClients, frag)
	}
	return ""
}

func (r *Rules) checkIPv6(p packet) string {
	unspecified := false
	if r.byAddress {
		a := p.find(r.ipv6, odp.KeyAttrIPv6, ipv6Src, ip6Size)
		if a == nil {
			return SourceAddress
		}
		unspecified = a.unspecified
	}
	proto, frag := p.byte(odp.KeyAttrIPv6, ipv6Proto), p.byte(odp.KeyAttrIPv6, ipv6Frag)
	switch {
	case frag == fragLater:
	case frag != fragNone && proto == protoNone:
		return Fragments
	case proto == protoICMPv6:
		return r.checkICMPv6(p, frag, unspecified)
	case unspecified:
	case proto == protoUDP && r.noServer:
		return p.checkUDP(dhcpv6Clients, frag)
	}
	if unspecified {
		return SourceAddress
	}
	return ""
}

// checkICMPv6 checks ICMPv6 packets. A host that has no address yet may send the packets by
// which hosts get or check an address, and reports of groups.
func (r *Rules) checkICMPv6(p packet, frag byte, unspecified bool) string {
	if !r.noRouter && !r.byAddress && r.macs == nil {
		return ""
	}
	typ := p.byte(odp.KeyAttrICMPv6, 0)
	switch {
	case r.noRouter && (typ == routerAdvert || typ == redirect):
		return RouterAdvertisement
	case frag != fragNone && (typ == 0 || typ >= routerSolicit && typ <= redirect):
		return Fragments
	}
	claims := typ == neighbourAdvert
	switch typ {
	case neighbourSolicit:
		claims = unspecified
	case neighbourAdvert:
	case mldReport, mldDone, mldReport2, routerSolicit:
		return ""
	default:
		if unspecified {
			return SourceAddress
		}
		return ""
	}
	if unspecified && typ == neighbourAdvert {
		return SourceAddress
	}
	if r.macs != nil {
		for _, off := range [...]int{ndSLL, ndTLL} {
			if p.find(r.linkLayer, odp.KeyAttrND, off, macSize) == nil {
				return NDLinkLayer
			}
		}
	}
	if claims && r.byAddress {
		if a := p.find(r.ipv6, odp.KeyAttrND, ndTarget, ip6Size); a == nil || a.unspecified {
			return NDTarget
		}
	}
	return ""
}
