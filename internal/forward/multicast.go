package forward

import (
	"encoding/binary"
	"net/netip"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"
)

// MulticastConfig is how Learning forwards to IP multicast groups.
type MulticastConfig struct {
	// Snooping sends packets of a group to its members and to routers, as IGMP and MLD
	// tell. Otherwise all ports of the VLAN get them.
	Snooping bool
	// FloodUnregistered has all ports get packets of groups without members; otherwise
	// routers do.
	FloodUnregistered bool
	// GroupLimit is how many groups a port may be a member of: at least 1 with Snooping.
	GroupLimit int
}

// Snooper is a policy that keeps members of multicast groups.
type Snooper interface {
	policy.Policy
	// Groups returns the table of groups, nil if snooping is off.
	Groups() *snoop.Table
}

// Groups implements Snooper.
func (l *Learning) Groups() *snoop.Table { return l.groups }

// class is what snooping makes of a multicast packet.
type class uint8

const (
	classOther   class = iota // flooded
	classGroup                // to the members of a group
	classMessage              // IGMP or MLD: each comes up
)

// Values of Verdict.Reason.
const (
	reasonGroup        = "multicast_group"
	reasonUnregistered = "multicast_unregistered"
	reasonMessage      = "multicast_message"
	reasonReport       = "multicast_report"
)

// Offsets in the structures of linux/openvswitch.h, Linux 6.1.
const (
	ipv4DstAt, ipv4ProtoAt            = 4, 8
	ipv6DstAt, ipv6ProtoAt, ipv6Frags = 16, 36, 39

	typeOfIPv4, typeOfIPv6     = 0x0800, 0x86dd
	protoOfIGMP, protoOfICMPv6 = 2, 58
	fragmentLater              = 2
)

// classify tells the class of a multicast packet with key k, and its group, and adds to m
// the bits read:
//
//	destination MAC    two bytes; of 01:00 the third; of 01:00:5e one bit more
//	IP multicast MAC   EtherType
//	IPv4               protocol and destination
//	IPv6               protocol, fragment, and of the destination the scope or all
//	ICMPv6             type, but for later fragments
func classify(k, m *odp.Packed) (class, netip.Addr) {
	eth := k.Part(odp.KeyAttrEthernet)[6:]
	read := func(attr uint16, off, n int) []byte {
		mask := m.Part(attr)[off : off+n]
		for i := range mask {
			mask[i] = 0xff
		}
		return k.Part(attr)[off : off+n]
	}
	typ := uint16(typeOfIPv6)
	switch [2]byte(read(odp.KeyAttrEthernet, 6, 2)) {
	case [2]byte{0x33, 0x33}:
	case [2]byte{0x01, 0x00}:
		if read(odp.KeyAttrEthernet, 8, 1)[0] != 0x5e {
			return classOther, netip.Addr{}
		}
		m.Part(odp.KeyAttrEthernet)[9] |= 0x80
		if eth[3]&0x80 != 0 {
			return classOther, netip.Addr{}
		}
		typ = typeOfIPv4
	default:
		return classOther, netip.Addr{}
	}
	if binary.BigEndian.Uint16(read(odp.KeyAttrEthertype, 0, 2)) != typ {
		return classOther, netip.Addr{}
	}
	var group netip.Addr
	if typ == typeOfIPv4 {
		if read(odp.KeyAttrIPv4, ipv4ProtoAt, 1)[0] == protoOfIGMP {
			return classMessage, group
		}
		group = netip.AddrFrom4([4]byte(read(odp.KeyAttrIPv4, ipv4DstAt, 4)))
	} else {
		proto, frag := read(odp.KeyAttrIPv6, ipv6ProtoAt, 1)[0], read(odp.KeyAttrIPv6, ipv6Frags, 1)[0]
		if proto == protoOfICMPv6 && frag != fragmentLater && snoop.IsMLD(read(odp.KeyAttrICMPv6, 0, 1)[0]) {
			return classMessage, group
		}
		scope := read(odp.KeyAttrIPv6, ipv6DstAt, 2)
		if scope[0] != 0xff || scope[1]&0xf <= 2 {
			return classOther, group // of the link, or no group
		}
		group = netip.AddrFrom16([16]byte(read(odp.KeyAttrIPv6, ipv6DstAt, 16)))
	}
	if !group.IsMulticast() || snoop.IsLinkScope(group) {
		return classOther, group
	}
	return classGroup, group
}

// snoop tells f what snooping makes of it.
func (l *Learning) snoop(key []byte, k *odp.Key, f *frame, refused string) {
	if l.groups == nil || refused != "" || !k.EthDst.IsMulticast() || l.reserves(k.EthDst) {
		return
	}
	var p, m odp.Packed
	if p.Pack(key) == nil {
		f.snooped = true
		f.class, f.group = classify(&p, &m)
	}
}

// message takes an IGMP or MLD message and sends it on: reports to routers (RFC 4541,
// 2.1.1), others to all. It has no flow.
func (l *Learning) message(u *dpif.Upcall, set *portSet, f *frame, nowMS int64, v *policy.Verdict) {
	v.Install, v.Reason = false, reasonMessage
	f.received(&v.Actions)
	l.limit(&v.Actions, f, policy.StormMulticast)
	var m snoop.Message
	switch err := snoop.Parse(u.Packet, &m); {
	case v.Explain != nil && err != nil:
		v.Explain("multicast", "an IGMP or MLD message that is ignored, and sent to all ports of the VLAN: "+err.Error())
	case v.Explain != nil:
		v.Explain("multicast", "an IGMP or MLD message: reports are sent to routers, others to all ports of the VLAN")
	case err != nil:
		l.groups.NoteMalformed()
	case f.in != nil && l.groups.Take(f.vlan, f.in.no, &m, nowMS):
		l.generation.Add(1)
	}
	if m.Kind == snoop.Report {
		v.Reason = reasonReport
		set.sendTo(&v.Actions, f, portUnion{set.routers, l.groups.Routers(f.vlan, m.IPv6)})
		return
	}
	set.flood(&v.Actions, f)
}

// toGroup sends f to the members of its group and to routers.
func (l *Learning) toGroup(set *portSet, f *frame, v *policy.Verdict) {
	members, known := l.groups.Members(f.vlan, f.group)
	v.Reason = reasonGroup
	found := "sent to the members of group " // and allocated only for a trace
	switch {
	case !known && l.floodUnregistered:
		v.Reason, found = reasonUnregistered, "sent to all ports of the VLAN: no member of group "
		set.flood(&v.Actions, f)
	case !known:
		v.Reason, found = reasonUnregistered, "sent to routers only: no member of group "
		fallthrough
	default:
		set.sendTo(&v.Actions, f, portUnion{set.routers, l.groups.Routers(f.vlan, f.group.Is6()), members})
	}
	if v.Explain != nil {
		v.Explain("multicast", found+f.group.String())
	}
}

// portUnion goes through ascending lists of ports together.
type portUnion [3][]odp.PortNo

// next returns the next port, each once.
func (u *portUnion) next() (no odp.PortNo, ok bool) {
	for _, list := range u {
		if len(list) > 0 && (!ok || list[0] < no) {
			no, ok = list[0], true
		}
	}
	for i, list := range u {
		if len(list) > 0 && list[0] == no {
			u[i] = list[1:]
		}
	}
	return no, ok
}

// sendTo is flood to some ports.
func (s *portSet) sendTo(e *netlink.Encoder, f *frame, to portUnion) {
	tagged, untagged := s.sendSome(nil, f, to, true), s.sendSome(nil, f, to, false)
	asItCame := f.tagged && f.vid == f.vlan
	if tagged > 0 && asItCame {
		s.sendSome(e, f, to, true)
	}
	if untagged > 0 {
		f.untag(e)
		s.sendSome(e, f, to, false)
	}
	if tagged > 0 && !asItCame {
		f.tag(e, untagged > 0)
		s.sendSome(e, f, to, true)
	}
}

// sendSome appends the actions that send f to those of the ports that it reaches and where
// its VLAN has a tag, or has none. It returns how many there are; e may be nil.
func (s *portSet) sendSome(e *netlink.Encoder, f *frame, to portUnion, tagged bool) (n int) {
	for {
		no, more := to.next()
		if !more {
			return n
		}
		p := s.find(no)
		if p == nil || !p.carries(f.vlan) || p.tags(f.vlan) != tagged || f.in != nil && !f.in.reaches(p) {
			continue
		}
		n++
		if e != nil {
			p.send(e, f.tos)
		}
	}
}
