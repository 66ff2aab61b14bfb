package dpif

import (
	"encoding/binary"
	"fmt"
)

// UFID is a unique flow identifier (OVS_FLOW_ATTR_UFID, Linux >= 4.0), 128
// bits that userspace chooses.
type UFID [16]byte

const (
	ufidTimeBits = 40 // milliseconds, enough for 34 years
	// ufidMark is in the bits above the time; ufidPrimed replaces it for a flow that is
	// installed before its packets, ufidSpoofed for one that drops what its port may not send,
	// ufidTimeless for one without a time.
	ufidMark, ufidPrimed, ufidSpoofed, ufidTimeless = 0xd91fd, 0xd91fe, 0xd91ff, 0xd9200
)

// NewUFID returns the UFID of a flow that is decided at nowMS, in milliseconds of
// CLOCK_MONOTONIC. One half is a hash of the flow's match, the other half contains the time,
// because the kernel reports none for a flow without packets. If a flow is decided several
// times before it is installed, it has several UFIDs. The kernel accepts the first only,
// because it also looks up the masked key (ovs_flow_cmd_new, net/openvswitch/datapath.c, Linux
// 4.0 and 6.1).
//
// Among 200,000 flows that are decided in the same millisecond two hashes collide with
// probability 1e-9. The later flow is then not installed, and its packets are upcalls.
func NewUFID(hash uint64, nowMS int64) UFID {
	var u UFID
	binary.NativeEndian.PutUint64(u[:], hash)
	u.setMark(ufidMark, nowMS)
	return u
}

// NewPrimedUFID is NewUFID for a flow that is installed before its packets.
func NewPrimedUFID(hash uint64, nowMS int64) UFID {
	u := NewUFID(hash, nowMS)
	u.setMark(ufidPrimed, nowMS)
	return u
}

// NewSpoofedUFID is NewUFID for a flow that drops what its port may not send. This mark identifies
// it in a dump without keys.
func NewSpoofedUFID(hash uint64, nowMS int64) UFID {
	u := NewUFID(hash, nowMS)
	u.setMark(ufidSpoofed, nowMS)
	return u
}

// NewTimelessUFID is NewUFID for a flow that must be found again by its match, without a dump.
func NewTimelessUFID(hash uint64) UFID {
	u := NewUFID(hash, 0)
	u.setMark(ufidTimeless, 0)
	return u
}

func (u *UFID) setMark(mark uint64, nowMS int64) {
	binary.NativeEndian.PutUint64(u[8:], mark<<ufidTimeBits|uint64(nowMS)&(1<<ufidTimeBits-1))
}

// Hash returns the hash that NewUFID was given.
func (u UFID) Hash() uint64 { return binary.NativeEndian.Uint64(u[:]) }

// Primed reports whether u is from NewPrimedUFID.
func (u UFID) Primed() bool { return u.mark() == ufidPrimed }

// Spoofed reports whether u is from NewSpoofedUFID.
func (u UFID) Spoofed() bool { return u.mark() == ufidSpoofed }

func (u UFID) mark() uint64 { return binary.NativeEndian.Uint64(u[8:]) >> ufidTimeBits }

// DecidedMS returns the time that was passed to NewUFID. ok is false for other UFIDs.
func (u UFID) DecidedMS() (ms int64, ok bool) {
	if mark := u.mark(); mark != ufidMark && mark != ufidPrimed && mark != ufidSpoofed {
		return 0, false
	}
	return int64(binary.NativeEndian.Uint64(u[8:]) & (1<<ufidTimeBits - 1)), true
}

// String returns the UFID as Open vSwitch writes it (odp_format_ufid,
// lib/odp-util.c): four words in host byte order.
func (u UFID) String() string {
	var w [4]uint32
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(u[4*i:])
	}
	return fmt.Sprintf("%08x-%04x-%04x-%04x-%04x%08x", w[0], w[1]>>16, w[1]&0xffff, w[2]>>16, w[2]&0xffff, w[3])
}
