package odp

import (
	"encoding/binary"
	"net"
)

// MAC is an Ethernet address.
type MAC [6]byte

// MACFromUint64 is the inverse of MAC.Uint64. It ignores the upper 16 bits.
func MACFromUint64(v uint64) MAC {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], v)
	return MAC(b[2:])
}

// Uint64 returns the address in the low 48 bits, its first byte the most
// significant.
func (m MAC) Uint64() uint64 {
	return uint64(m[0])<<40 | uint64(m[1])<<32 | uint64(m[2])<<24 |
		uint64(m[3])<<16 | uint64(m[4])<<8 | uint64(m[5])
}

// IsMulticast reports whether the group bit is set. Broadcast is multicast.
func (m MAC) IsMulticast() bool { return m[0]&1 != 0 }

// IsBroadcast reports whether m is ff:ff:ff:ff:ff:ff.
func (m MAC) IsBroadcast() bool {
	return m == MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
}

// IsZero reports whether m is 00:00:00:00:00:00, which no station has.
func (m MAC) IsZero() bool { return m == MAC{} }

// String returns the usual form, "01:80:c2:00:00:0e".
func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }
