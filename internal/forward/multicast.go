package forward

import (
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"
)

// MulticastConfig configures how Learning forwards to IP multicast groups.
type MulticastConfig struct {
	// Snooping sends packets of a group only to its members, known from IGMP and MLD, and to
	// routers. Otherwise all ports of the VLAN get them.
	Snooping bool
	// FloodUnregistered sends packets of groups without members to all ports instead of only to
	// routers.
	FloodUnregistered bool
	// GroupLimit is the maximum number of groups of a port: at least 1 with Snooping.
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

// Values of Verdict.Reason.
const (
	reasonGroup        = "multicast_group"
	reasonUnregistered = "multicast_unregistered"
	reasonMessage      = "multicast_message"
	reasonReport       = "multicast_report"
)

// snoop determines the class and group of f.
func (l *Learning) snoop(key []byte, k *odp.Key, f *frame, refused string) {
	if l.groups == nil || refused != "" || !k.EthDst.IsMulticast() || l.reserves(k.EthDst) {
		return
	}
	var p, m odp.Packed
	if p.Pack(key) == nil {
		f.snooped = true
		f.class, f.group = snoop.Classify(&p, &m)
	}
}

// message processes an IGMP or MLD message and forwards it: reports to routers (RFC 4541, 2.1.1),
// others to all ports. It gets no flow.
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
	found := "sent to the members of group " // extended only for a trace
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

// portUnion iterates over the union of ascending lists of ports.
type portUnion [3][]odp.PortNo

// next returns the next port, without duplicates.
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

// sendTo is flood to the ports in to.
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

// sendSome appends the actions that send f to those ports in to that it reaches, and whose VLAN is
// tagged or untagged as given. It returns their number; e may be nil.
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
