package guard

import (
	"cmp"
	"math/bits"
	"slices"
)

// prefix is the leading bits of an address, in network byte order.
type prefix struct {
	addr [16]byte
	bits int
	// unspecified: the prefix covers only the zero address, which is not allowed in general.
	unspecified bool
}

// A value that no prefix covers is read in steps of this many bits: larger steps cause fewer
// masks and more flows.
const (
	addressStep = 8
	portStep    = 4
)

// disjoint returns the prefixes that no other prefix contains.
func disjoint(list []prefix) []prefix {
	slices.SortStableFunc(list, func(a, b prefix) int { return cmp.Compare(a.bits, b.bits) })
	var out []prefix
	for _, p := range list {
		if !slices.ContainsFunc(out, func(q prefix) bool { return commonBits(q.addr[:], p.addr[:]) >= q.bits }) {
			out = append(out, p)
		}
	}
	return out
}

// find returns the prefix of list that covers value, nil if there is none. It sets the bits in
// mask that decide this.
func find(list []prefix, value, mask []byte, step int) *prefix {
	if len(list) == 0 {
		return nil
	}
	longest := 0
	for i := range list {
		p := &list[i]
		n := commonBits(p.addr[:], value)
		if n >= p.bits {
			setBits(mask, p.bits)
			return p
		}
		longest = max(longest, n)
	}
	// Each prefix differs from value in at least one bit up to this one.
	setBits(mask, (longest/step+1)*step)
	return nil
}

// commonBits returns the number of leading bits that a and b have in common. a is not shorter
// than b.
func commonBits(a, b []byte) int {
	for i := range b {
		if d := a[i] ^ b[i]; d != 0 {
			return 8*i + bits.LeadingZeros8(d)
		}
	}
	return 8 * len(b)
}

// setBits sets the first n bits of mask.
func setBits(mask []byte, n int) {
	for i := range mask {
		if n < 8 {
			mask[i] |= ^byte(0xff >> n)
			return
		}
		mask[i], n = 0xff, n-8
	}
}
