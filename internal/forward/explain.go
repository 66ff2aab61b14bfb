package forward

import (
	"fmt"

	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// These functions run only for a verdict with Explain set, beside the decision, instead of code
// that changes the policy's state.

// explainInPort explains whether packets of the in-port get flows.
func explainInPort(in odp.PortNo, set *portSet, v *policy.Verdict) {
	switch p := set.find(in); {
	case p != nil && p.sink:
		v.Explain("in_port", set.label(in)+" is a mirror port: its received frames are dropped")
		return
	case p != nil && in >= FirstTunnelNo:
		v.Explain("in_port", fmt.Sprintf("came out of tunnel %s, which is port %d of the switch", p.name, in))
		return
	case set.isDevice(in):
		v.Explain("in_port",
			fmt.Sprintf("port %d is a device of tunnels, and none has the packet's addresses and key: dropped", in))
		return
	case p != nil:
		v.Explain("in_port", fmt.Sprintf("%s is one of the datapath's %d ports", set.label(in), len(set.ports)))
		return
	}
	found := "forwarded, but no flow is installed"
	if !set.plain {
		found = "dropped, since its settings are not known, and no flow is installed"
	}
	v.Explain("in_port", fmt.Sprintf("port %d is not in the datapath: %s", in, found))
}

// label names a port in explanations.
func (s *portSet) label(no odp.PortNo) string {
	if p := s.find(no); p != nil {
		return fmt.Sprintf("port %d (%s)", no, p.name)
	}
	return fmt.Sprintf("port %d", no)
}

// explainVLAN explains the VLAN of the frame.
func explainVLAN(f *frame, refused string, v *policy.Verdict) {
	tag := "no tag"
	switch {
	case f.partial:
		tag = "a truncated tag, which counts as none and gets no flow"
	case f.tagged:
		tag = fmt.Sprintf("tag with VLAN %d, priority %d", f.vid, f.pcp>>13)
	}
	switch refused {
	case reasonVLAN:
		v.Explain("vlan", tag+", which the port does not accept: dropped")
	case "":
		v.Explain("vlan", fmt.Sprintf("%s: VLAN %d", tag, f.vlan))
	}
}

// explainSource explains what Decide would learn.
func (l *Learning) explainSource(k *odp.Key, set *portSet, f *frame, refused string, v *policy.Verdict) {
	explainInPort(k.InPort, set, v)
	explainVLAN(f, refused, v)
	found := ""
	port, known := l.table.lookup(l.macKey(f.vlan, k.EthSrc))
	switch {
	case refused != "":
		found = "not learned, since the frame is not accepted"
	case l.reserves(k.EthDst):
		found = "not learned, since the destination is reserved for the link"
	case k.EthSrc.IsMulticast():
		found = "not learned: a multicast address is not a source"
	case k.EthSrc.IsZero():
		found = "not learned: the zero address is not a station"
	case !l.learnsFrom(k, set, f.vlan):
		found = "not learned: it is a static MAC"
	case !set.has(k.InPort):
		found = "not learned, since its port is not in the datapath"
	case !known:
		found = "unknown: would be learned on " + set.label(k.InPort)
	case port != k.InPort:
		found = fmt.Sprintf("known on %s: would move to %s", set.label(port), set.label(k.InPort))
	default:
		found = "known on " + set.label(port)
	}
	v.Explain("source", k.EthSrc.String()+": "+found)
}

// wouldFind returns what a lookup of the destination would find after the source was learned.
// It ignores that learning could evict another MAC.
func (l *Learning) wouldFind(k *odp.Key, f *frame, v *policy.Verdict) (port odp.PortNo, ok bool) {
	if k.EthDst == k.EthSrc && f.in != nil && l.learnsFrom(k, l.load(), f.vlan) {
		port, ok = k.InPort, true
	} else {
		port, ok = l.table.lookup(l.macKey(f.vlan, k.EthDst))
	}
	found := fmt.Sprintf("%s is not in the MAC table for VLAN %d", k.EthDst, f.vlan)
	if ok {
		found = fmt.Sprintf("%s is known on %s", k.EthDst, l.load().label(port))
	}
	v.Explain("mac_lookup", found)
	return port, ok
}

// explainDestination explains what the verdict does with the packet.
func explainDestination(k *odp.Key, set *portSet, f *frame, v *policy.Verdict) {
	found := ""
	switch v.Reason {
	case "reserved_multicast":
		found = k.EthDst.String() + " is reserved for the link (IEEE 802.1D): dropped"
	case "multicast":
		found = k.EthDst.String() + " is multicast: " + set.others(f)
	case "unknown_unicast":
		found = "the destination's port is not known: " + set.others(f)
	case "same_port":
		found = "the destination is behind the in-port: dropped"
	case "isolated":
		found = "the destination's port is isolated from the in-port: dropped"
	default:
		found = "sent to the destination's port"
	}
	v.Explain("destination", found)
}

// others describes the ports of a flood.
func (s *portSet) others(f *frame) string {
	d := s.domain(f.vlan)
	tagged, untagged := d.tagged.count(s, f.in), d.untagged.count(s, f.in)
	return fmt.Sprintf("sent to %d ports of VLAN %d with its tag and to %d without", tagged, f.vlan, untagged)
}
