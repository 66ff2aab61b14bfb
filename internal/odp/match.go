package odp

import "dpifd/internal/netlink"

// Selects reports whether a packet's key matches what a text says, as
// Text.ParseKey reads it: each bit that mask has is in the packet's key as in
// want. What is nested, as behind a VLAN tag, is compared there. A malformed
// key matches nothing. It does not allocate.
func Selects(key, want, mask []byte) bool { return selects(key, want, mask, keySpace, 0) }

func selects(key, want, mask []byte, s space, depth int) bool {
	if depth > maxNesting {
		return false
	}
	it := netlink.NewAttrs(mask)
	for it.Next() {
		m, k, w := it.Data(), find(key, it.Type()), find(want, it.Type())
		if inner, is := s.nested(it.Type()); is {
			if k == nil || !selects(k, w, m, inner, depth+1) {
				return false
			}
			continue
		}
		if k == nil || w == nil {
			// One of them is an absence: of an EtherType, or of a flag. What is
			// absent differs from what is there, unless no bit of it counts.
			if (k == nil) != (w == nil) && (len(m) == 0 || !allZeros(m)) {
				return false
			}
			continue
		}
		for i, bits := range m {
			if (at(k, i)^at(w, i))&bits != 0 {
				return false
			}
		}
	}
	return it.Err() == nil
}

// Masked returns key with the bits that mask has not set to zero, as the kernel
// dumps the key of a flow. Attributes that mask lacks become zeros.
func Masked(key, mask []byte) []byte {
	var e netlink.Encoder
	appendMasked(&e, key, mask, keySpace, 0)
	return e.Bytes()
}

func appendMasked(e *netlink.Encoder, key, mask []byte, s space, depth int) {
	it := netlink.NewAttrs(key)
	for it.Next() {
		k, m := it.Data(), find(mask, it.Type())
		if inner, is := s.nested(it.Type()); is && depth < maxNesting {
			e.Nested(it.Type(), func(e *netlink.Encoder) { appendMasked(e, k, m, inner, depth+1) })
			continue
		}
		out := make([]byte, len(k))
		for i := range k {
			out[i] = k[i] & at(m, i)
		}
		e.Attr(it.Type(), out)
	}
}
