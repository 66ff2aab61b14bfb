package forward

import (
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// checkRules asks the in-port's rules about the packet with the key.
func (f *frame) checkRules(key []byte) (refused string) {
	var k, m odp.Packed
	if k.Pack(key) != nil {
		f.partial = true // no flow for it
		return reasonMalformedKey
	}
	refused = f.in.rules.Check(&k, &m)
	f.guarded, f.spoofed = true, refused != ""
	return refused
}

// readRules adds to v's mask what the in-port's rules read of the packet, and says in
// v whether they refuse it. They are asked a second time, so that frames of other
// ports need no room for a mask. It reports whether the mask can be told.
func (f *frame) readRules(key []byte, v *policy.Verdict) bool {
	if !f.guarded {
		return true
	}
	v.Spoofed = f.spoofed
	if v.Explain != nil {
		found := "the in-port may send the packet"
		if f.spoofed {
			found = "the in-port may not send the packet: dropped"
		}
		v.Explain("allow", found)
	}
	var k odp.Packed
	var m packedMask
	if k.Pack(key) != nil || !m.take(v) {
		return false
	}
	f.in.rules.Check(&k, &m.Packed)
	m.put(v, &k)
	return true
}
