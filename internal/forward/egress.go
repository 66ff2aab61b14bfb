package forward

import (
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Parts of a TCI, linux/if_vlan.h of Linux 6.1.
const (
	vidMask     = 0x0fff
	priorities  = 0xe000
	tagPresent  = 0x1000
	tpidOfTag   = 0x8100 // of tags that the switch adds, IEEE 802.1Q
	defaultVLAN = 0      // of frames without tag on a trunk
)

// frame is what forwarding has to know about a frame's tag and VLAN. Inner tags
// are payload.
type frame struct {
	in     *port  // nil for a port that is not in the set
	vlan   uint16 // that the frame belongs to
	tagged bool   // as it came
	vid    uint16 // of its tag
	pcp    uint16 // priority bits of its tag, in their place
}

// Values of Verdict.Reason for frames that are not taken.
const (
	reasonPartialTag    = "partial_vlan_tag"
	reasonVLAN          = "vlan_not_carried"
	reasonInPortUnknown = "in_port_unknown"
)

// admit says which VLAN a packet with key k belongs to, as
// xlate_normal and input_vid_is_valid of Open vSwitch 3.1 do
// (ofproto/ofproto-dpif-xlate.c). The reason is not empty if the packet is
// not taken.
func (s *portSet) admit(k *odp.Key, f *frame) (reason string) {
	f.in = s.find(k.InPort)
	if k.HasVLAN {
		f.tagged, f.vid, f.pcp = true, k.TCI&vidMask, k.TCI&priorities
		if k.TCI&tagPresent == 0 {
			return reasonPartialTag
		}
	}
	f.vlan = f.vid
	switch {
	case s.plain:
	case f.in == nil:
		// Its settings are not known, so that any way might be a wrong one.
		return reasonInPortUnknown
	case f.vid == 0 && f.in.untagged != 0:
		f.vlan = f.in.untagged
	case f.in.access || !f.in.carries(f.vid):
		return reasonVLAN
	}
	return ""
}

// flood appends the actions that send f to all ports of its VLAN that it
// reaches. The frame goes out as it came first, and is changed afterwards.
func (s *portSet) flood(e *netlink.Encoder, f *frame) {
	d := s.domain(f.vlan)
	tagged, untagged := d.tagged.count(s, f.in), d.untagged.count(s, f.in)
	asItCame := f.tagged && f.vid == f.vlan
	if tagged > 0 && asItCame {
		d.tagged.send(s, f.in, e)
	}
	if untagged > 0 {
		f.untag(e)
		d.untagged.send(s, f.in, e)
	}
	if tagged > 0 && !asItCame {
		f.tag(e, untagged > 0)
		d.tagged.send(s, f.in, e)
	}
}

// output appends the actions that send f out of one port.
func (s *portSet) output(e *netlink.Encoder, f *frame, out *port) {
	if out.tags(f.vlan) {
		f.tag(e, false)
	} else {
		f.untag(e)
	}
	e.Raw(out.output...)
}

// untag appends what makes f, as it came, fit for ports where its VLAN has no
// tag. In VLAN 0 that is where a tag stays if it has a priority to tell, as in
// xvlan_put of Open vSwitch.
func (f *frame) untag(e *netlink.Encoder) {
	if f.tagged && (f.vlan != defaultVLAN || f.pcp == 0) {
		odp.AppendPopVLAN(e)
	}
}

// tag appends what makes f fit for ports where its VLAN has a tag. popped says
// that untag came before.
func (f *frame) tag(e *netlink.Encoder, popped bool) {
	if f.tagged && !popped {
		if f.vid == f.vlan {
			return
		}
		odp.AppendPopVLAN(e)
	}
	odp.AppendPushVLAN(e, tpidOfTag, tagPresent|f.pcp|f.vlan)
}
