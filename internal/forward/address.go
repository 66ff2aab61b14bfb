package forward

import "dpifd/internal/odp"

var (
	exact    = odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	groupBit = odp.MAC{0x01}
	// reserved is the block of addresses that a bridge does not forward,
	// IEEE 802.1D-2004 table 7-10, and the bits that tell it.
	reserved     = odp.MAC{0x01, 0x80, 0xc2, 0x00, 0x00, 0x00}
	reservedMask = odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}
)

func isReserved(dst odp.MAC) bool {
	return dst.Uint64()&reservedMask.Uint64() == reserved.Uint64()
}

// teaches reports whether the source of a packet is learned. Reserved
// destinations are dropped before. A multicast address is nobody's source. Nor
// is the zero address, which besides is what the source reads as in the dumped
// key of a flow that does not match it.
func teaches(k *odp.Key) bool {
	return !k.EthSrc.IsMulticast() && !k.EthSrc.IsZero() && !isReserved(k.EthDst)
}

// sourceMask returns the bits that tell whether and what to learn from src.
func sourceMask(src odp.MAC) odp.MAC {
	if src.IsMulticast() {
		return groupBit
	}
	return exact
}

// destinationMask returns the bits that tell what kind of address dst is, and
// which when that matters. A multicast address is compared with the reserved
// block byte by byte, up to the first byte that differs: so one flow takes
// 33:33:00:00:00:01 and all else that begins with 33, another all else that
// begins with 01:00. The masks are prefixes, hence flows do not overlap, and
// there are six at most.
func destinationMask(dst odp.MAC) odp.MAC {
	if !dst.IsMulticast() {
		return exact
	}
	m := reservedMask
	for i := range 5 {
		if dst[i] != reserved[i] {
			clear(m[i+1:])
			break
		}
	}
	return m
}
