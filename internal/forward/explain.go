package forward

import (
	"fmt"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// The functions here run only for a verdict with Explain set, in the place of
// what would change the policy's state, and beside the decision itself.

// explainInPort tells whether packets of the in-port are given flows.
func explainInPort(in odp.PortNo, set *portSet, v *dpif.Verdict) {
	if set.has(in) {
		v.Explain("in_port", fmt.Sprintf("port %d is one of the datapath's %d ports", in, len(set.nos)))
		return
	}
	v.Explain("in_port", fmt.Sprintf("port %d is not in the datapath: forwarded, but no flow is installed", in))
}

// explainSource tells what Decide would learn.
func (l *Learning) explainSource(k *odp.Key, set *portSet, v *dpif.Verdict) {
	explainInPort(k.InPort, set, v)
	found := ""
	port, known := l.table.lookup(macKey(0, k.EthSrc))
	switch {
	case isReserved(k.EthDst):
		found = "not learned, since the destination is reserved for the link"
	case k.EthSrc.IsMulticast():
		found = "not learned: a multicast address is nobody's source"
	case k.EthSrc.IsZero():
		found = "not learned: the zero address is nobody's"
	case !set.has(k.InPort):
		found = "not learned, since its port is not in the datapath"
	case !known:
		found = fmt.Sprintf("unknown: would be learned on port %d", k.InPort)
	case port != k.InPort:
		found = fmt.Sprintf("known on port %d: would move to port %d", port, k.InPort)
	default:
		found = fmt.Sprintf("known on port %d", port)
	}
	v.Explain("source", k.EthSrc.String()+": "+found)
}

// wouldFind returns what a look-up of the destination would find after the
// source was learned. That another MAC could have to go for it is left out.
func (l *Learning) wouldFind(k *odp.Key, v *dpif.Verdict) (port odp.PortNo, ok bool) {
	if k.EthDst == k.EthSrc && teaches(k) && l.load().has(k.InPort) {
		port, ok = k.InPort, true
	} else {
		port, ok = l.table.lookup(macKey(0, k.EthDst))
	}
	found := k.EthDst.String() + " is not in the MAC table"
	if ok {
		found = fmt.Sprintf("%s is known on port %d", k.EthDst, port)
	}
	v.Explain("mac_lookup", found)
	return port, ok
}

// explainDestination tells what the verdict does with the packet.
func explainDestination(k *odp.Key, set *portSet, v *dpif.Verdict) {
	found := ""
	switch v.Reason {
	case "reserved_multicast":
		found = k.EthDst.String() + " is reserved for the link (IEEE 802.1D): dropped"
	case "multicast":
		found = k.EthDst.String() + " is multicast: " + set.allBut(k.InPort)
	case "unknown_unicast":
		found = "the destination's port is not known: " + set.allBut(k.InPort)
	case "same_port":
		found = "the destination is behind the in-port: dropped"
	default:
		found = "sent to the destination's port"
	}
	v.Explain("destination", found)
}

// allBut says where a flood goes.
func (s *portSet) allBut(in odp.PortNo) string {
	n := len(s.nos)
	if s.has(in) {
		n--
	}
	return fmt.Sprintf("sent to all ports but the in-port, %d of them", n)
}
