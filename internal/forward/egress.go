package forward

import (
	"net/netip"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/snoop"
)

// Parts of a TCI, linux/if_vlan.h of Linux 6.1.
const (
	vidMask     = 0x0fff
	priorities  = 0xe000
	tagPresent  = 0x1000
	tpidOfTag   = 0x8100 // TPID of added tags, IEEE 802.1Q
	defaultVLAN = 0      // VLAN of untagged frames on a trunk
)

// frame is the information about a frame's tag and VLAN that forwarding needs. Inner tags are
// payload.
type frame struct {
	in     *port  // nil for a port that is not in the set
	vlan   uint16 // of the frame
	tagged bool   // as received
	vid    uint16 // of its tag
	pcp    uint16 // priority bits of its tag, not shifted

	// partial means that the frame ends within its tag. Its key is that of an untagged frame,
	// except the EtherType, and the kernel refuses flows for it.
	partial bool

	tunneled, ip6 bool  // arrived through a tunnel device; the outer packet is IPv6
	tos           uint8 // for tunnels that inherit it

	// guarded says that the in-port's rules were checked for the frame, and spoofed that they
	// reject it.
	guarded, spoofed bool

	// snooped says that class and group were determined for the frame.
	snooped bool
	class   snoop.Class
	group   netip.Addr
}

// Values of Verdict.Reason for frames that are not accepted.
const (
	reasonVLAN          = "vlan_not_carried"
	reasonInPortUnknown = "in_port_unknown"
	reasonNoTunnel      = "no_such_tunnel"
	reasonMirror        = "mirror_port"
)

// admit determines the port and VLAN of a packet with the key k, parsed from key; the VLAN as
// in xlate_normal and input_vid_is_valid of Open vSwitch 3.1 (ofproto/ofproto-dpif-xlate.c).
// The reason is not empty if the packet is not accepted. For a packet from a tunnel, k's
// in-port becomes the tunnel.
func (s *portSet) admit(key []byte, k *odp.Key, f *frame) (reason string) {
	f.in = s.find(k.InPort)
	if f.in == nil && s.devices != nil {
		if reason := s.detunnel(key, k, f); reason != "" {
			return reason
		}
	}
	if f.in != nil && f.in.sink {
		return reasonMirror
	}
	if s.inherits {
		f.tos = odp.TOS(key)
	}
	switch {
	case !k.HasVLAN:
	case k.TCI&tagPresent == 0:
		f.partial = true // decided as an untagged frame, whose flows cover it
	default:
		f.tagged, f.vid, f.pcp = true, k.TCI&vidMask, k.TCI&priorities
	}
	f.vlan = f.vid
	switch {
	case s.plain:
	case f.in == nil:
		// Its settings are unknown, so any output may be wrong.
		return reasonInPortUnknown
	case f.vid == 0 && f.in.untagged != 0:
		f.vlan = f.in.untagged
	case f.in.access || !f.in.carries(f.vid):
		return reasonVLAN
	}
	if f.in != nil && f.in.rules != nil {
		return f.checkRules(key)
	}
	return ""
}

// installs reports whether a flow is installed for f, which was refused for a reason, or accepted
// if refused is "".
func (f *frame) installs(refused string) bool {
	return !f.partial && (f.in != nil || refused == reasonNoTunnel)
}

// appendMask appends to a mask the bits of the key that admit read, except the VLAN tag, which
// the kernel always matches.
func (s *portSet) appendMask(e *netlink.Encoder, key []byte, f *frame, refused string) {
	odp.AppendInPortMask(e)
	if f.tunneled {
		odp.AppendTunnelMask(e, f.ip6)
	}
	if s.inherits && refused == "" {
		odp.AppendTOSMask(e, key)
	}
}

// flood appends the actions that send f to all ports of its VLAN that it reaches. Outputs of
// the unchanged frame come first, then the frame is changed.
func (s *portSet) flood(e *netlink.Encoder, f *frame) {
	d := s.domain(f.vlan)
	tagged, untagged := d.tagged.count(s, f.in), d.untagged.count(s, f.in)
	asItCame := f.tagged && f.vid == f.vlan
	if tagged > 0 && asItCame {
		d.tagged.send(s, f, e)
	}
	if untagged > 0 {
		f.untag(e)
		d.untagged.send(s, f, e)
	}
	if tagged > 0 && !asItCame {
		f.tag(e, untagged > 0)
		d.tagged.send(s, f, e)
	}
}

// output appends the actions that send f out of one port.
func (s *portSet) output(e *netlink.Encoder, f *frame, out *port) {
	if out.tags(f.vlan) {
		f.tag(e, false)
	} else {
		f.untag(e)
	}
	out.send(e, f.tos)
}

// send appends the actions that send a frame out of the port.
func (p *port) send(e *netlink.Encoder, tos uint8) {
	if tos == 0 || p.withTOS == nil {
		e.Raw(p.output...)
		return
	}
	at := e.Len() + p.tosAt
	e.Raw(p.withTOS...)
	if e.Err() == nil {
		e.Bytes()[at] = tos
	}
}

// unchanged reports whether f goes from one port of the datapath to another without a
// tag before and after.
func (f *frame) unchanged(out *port) bool {
	return f.in != nil && !f.tagged && !f.tunneled && !out.tags(f.vlan) && out.no < odp.MaxPorts
}

// untag appends the actions that prepare the received frame f for ports where its VLAN is
// untagged. In VLAN 0 a tag with a priority stays, as in xvlan_put of Open vSwitch.
func (f *frame) untag(e *netlink.Encoder) {
	if f.tagged && (f.vlan != defaultVLAN || f.pcp == 0) {
		odp.AppendPopVLAN(e)
	}
}

// tag appends the actions that prepare f for ports where its VLAN is tagged. popped means that
// untag was called before.
func (f *frame) tag(e *netlink.Encoder, popped bool) {
	if f.tagged && !popped {
		if f.vid == f.vlan {
			return
		}
		odp.AppendPopVLAN(e)
	}
	odp.AppendPushVLAN(e, tpidOfTag, tagPresent|f.pcp|f.vlan)
}
