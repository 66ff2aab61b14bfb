package forward

import "dpifd/internal/odp"

// block is a set of destination addresses: those that equal addr in the bits of mask.
type block struct{ addr, mask odp.MAC }

// reserved are the destinations that a bridge does not forward: the link-local
// block of IEEE 802.1D-2004, table 7-10, and the vendors' addresses of Open
// vSwitch (eth_addr_is_reserved, lib/packets.c, 3.1).
var reserved = []block{
	{odp.MAC{0x01, 0x80, 0xc2, 0, 0, 0}, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}},
	{odp.MAC{0x00, 0xe0, 0x2b, 0, 0, 0}, exact},            // Extreme EDP
	{odp.MAC{0x00, 0xe0, 0x2b, 0, 0, 4}, exact},            // Extreme EAPS
	{odp.MAC{0x00, 0xe0, 0x2b, 0, 0, 6}, exact},            // Extreme EAPS
	{odp.MAC{0x01, 0x00, 0x0c, 0, 0, 0}, exact},            // Cisco ISL
	{odp.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcc}, exact},   // Cisco PAgP, UDLD, CDP, DTP, VTP
	{odp.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd}, exact},   // Cisco PVST+
	{odp.MAC{0x01, 0x00, 0x0c, 0xcd, 0xcd, 0xcd}, exact},   // Cisco STP Uplink Fast, FlexLink
	{odp.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xc0}, cfmMask}, // Cisco CFM
}

var cfmMask = odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xf8}

func isReserved(dst odp.MAC) bool {
	switch [2]byte(dst[:2]) {
	case [2]byte{0x01, 0x80}, [2]byte{0x01, 0x00}, [2]byte{0x00, 0xe0}:
	default:
		return false // this decides most cases
	}
	for i := range reserved {
		if b := &reserved[i]; dst.Uint64()&b.mask.Uint64() == b.addr.Uint64() {
			return true
		}
	}
	return false
}

// reservedMask returns the bits of a multicast address that decide whether it is reserved.
// Bytes are read in order, up to the first byte that no reserved address has after the same
// start: one flow covers 33:33:00:00:00:01 and everything else that starts with 33. Two
// addresses with the same first bytes have the same mask for them, so flows do not overlap.
func reservedMask(dst odp.MAC) odp.MAC {
	var m odp.MAC
	for i := range dst {
		for j := range reserved {
			if b := &reserved[j]; string(b.addr[:i]) == string(dst[:i]) {
				m[i] |= b.mask[i]
			}
		}
		if m[i] == 0 {
			break
		}
	}
	m[0] |= groupBit[0]
	return m
}
