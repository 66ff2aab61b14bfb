package forward

import (
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"
)

// checkRules checks the packet with the key against the in-port's rules.
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

// readMore adds the bits that the in-port's rules and snooping read to v's mask, and records in v
// whether the rules reject the packet. Both read the key a second time, so that other frames need
// no memory for a mask. readMore reports whether the mask can be determined.
func (f *frame) readMore(key []byte, v *policy.Verdict) bool {
	if !f.guarded && !f.snooped {
		return true
	}
	v.Spoofed = f.spoofed
	if v.Explain != nil && f.guarded {
		found := "the in-port may send the packet"
		if f.spoofed {
			found = "the in-port may not send the packet, dropped: " + v.Reason
		}
		v.Explain("allow", found)
	}
	var k odp.Packed
	var m packedMask
	if k.Pack(key) != nil || !m.take(v) {
		return false
	}
	if f.guarded {
		f.in.rules.Check(&k, &m.Packed)
	}
	if f.snooped {
		snoop.Classify(&k, &m.Packed)
	}
	m.put(v, &k)
	return true
}
