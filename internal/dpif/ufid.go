package dpif

import (
	"encoding/binary"
	"fmt"
)

// UFID is a unique flow identifier (OVS_FLOW_ATTR_UFID, Linux >= 4.0), 128
// bits that userspace chooses.
type UFID [16]byte

const (
	ufidTimeBits = 40 // milliseconds, 34 years of them
	// ufidMark is in the bits above the time; ufidPrimed instead of it for a flow whose
	// packets have yet to come.
	ufidMark, ufidPrimed = 0xd91fd, 0xd91fe
)

// newUFID returns the UFID of a flow that is decided at a time, in milliseconds of
// CLOCK_MONOTONIC. Half of it is a hash of what the flow matches, the other half
// keeps the time, since the kernel has none for a flow that no packet has matched.
// A flow that is decided at several times before it is there has as many UFIDs, of
// which the kernel takes the first: it looks for the masked key as well
// (ovs_flow_cmd_new, net/openvswitch/datapath.c, Linux 4.0 and 6.1).
//
// Hashes of two of 200,000 flows that are decided in the same millisecond are the
// same once in a thousand million tables. The later flow is not installed then, and
// its packets come up.
func NewUFID(hash uint64, nowMS int64) UFID {
	var u UFID
	binary.NativeEndian.PutUint64(u[:], hash)
	u.setMark(ufidMark, nowMS)
	return u
}

// NewPrimedUFID is NewUFID for a flow that is put before any of its packets came.
func NewPrimedUFID(hash uint64, nowMS int64) UFID {
	u := NewUFID(hash, nowMS)
	u.setMark(ufidPrimed, nowMS)
	return u
}

func (u *UFID) setMark(mark uint64, nowMS int64) {
	binary.NativeEndian.PutUint64(u[8:], mark<<ufidTimeBits|uint64(nowMS)&(1<<ufidTimeBits-1))
}

// Hash returns the hash that NewUFID was given.
func (u UFID) Hash() uint64 { return binary.NativeEndian.Uint64(u[:]) }

// Primed reports whether u is of NewPrimedUFID.
func (u UFID) Primed() bool { return binary.NativeEndian.Uint64(u[8:])>>ufidTimeBits == ufidPrimed }

// decidedMS returns the time that newUFID was given. ok is false for a UFID from
// somewhere else.
func (u UFID) DecidedMS() (ms int64, ok bool) {
	w := binary.NativeEndian.Uint64(u[8:])
	if mark := w >> ufidTimeBits; mark != ufidMark && mark != ufidPrimed {
		return 0, false
	}
	return int64(w & (1<<ufidTimeBits - 1)), true
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
