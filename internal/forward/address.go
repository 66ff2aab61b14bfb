package forward

import (
	"dpifd/internal/odp"
)

var (
	exact    = odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	groupBit = odp.MAC{0x01}
)

// teaches reports whether the source of a packet can be learned. Multicast and zero addresses
// are not sources; zero is also the source in the dumped key of a flow that wildcards it.
func teaches(k *odp.Key) bool { return !k.EthSrc.IsMulticast() && !k.EthSrc.IsZero() }

// sourceMask returns the bits of src that decide whether and what to learn.
func sourceMask(src odp.MAC) odp.MAC {
	if src.IsMulticast() {
		return groupBit
	}
	return exact
}

// destinationMask returns the bits that determine the kind of dst, or the whole address if it
// matters.
func (l *Learning) destinationMask(dst odp.MAC) odp.MAC {
	if !dst.IsMulticast() {
		return exact
	}
	m := groupBit
	if !l.forwardBPDU {
		m = reservedMask(dst)
	}
	// Broadcast is detected byte by byte too. It may be another kind for storm control, and the
	// kernel has one mask for flows of broadcast and of unicast.
	for i := range dst {
		m[i] = 0xff
		if dst[i] != 0xff {
			break
		}
	}
	return m
}

// reserves reports whether packets for dst are not forwarded.
func (l *Learning) reserves(dst odp.MAC) bool { return !l.forwardBPDU && isReserved(dst) }

// learnsFrom reports whether the source of a packet is learned in its VLAN: packets to reserved
// destinations are dropped before, and static MACs do not move.
func (l *Learning) learnsFrom(k *odp.Key, set *portSet, vlan uint16) bool {
	if !teaches(k) || l.reserves(k.EthDst) {
		return false
	}
	if len(set.fixed) == 0 {
		return true
	}
	_, fixed := set.fixed[l.macKey(vlan, k.EthSrc)]
	return !fixed
}
