package odp

import "dpifd/internal/netlink"

// Selects reports whether a packet's key matches a text, as Text.ParseKey reads it: each bit in
// mask has the same value in the key and in want. Nested attributes, as after a VLAN tag, are
// compared inside. A malformed key matches nothing. Selects does not allocate.
func Selects(key, want, mask []byte) bool {
	return comparison{}.selects(key, nil, want, mask, true, keySpace, 0)
}

// SelectsFlow is Selects for a flow with its key and mask: bits that the flow wildcards count
// as zero, as in the filters of ovs-dpctl. A nil flowMask means that the flow matches every bit
// of its key.
func SelectsFlow(key, flowMask, want, mask []byte) bool {
	return comparison{}.selects(key, flowMask, want, mask, flowMask == nil, keySpace, 0)
}

// Intersects reports whether a packet can match both a flow, with its key and mask, and a text.
// It is SelectsFlow without comparing bits that the flow wildcards.
func Intersects(key, flowMask, want, mask []byte) bool {
	return comparison{wild: true}.selects(key, flowMask, want, mask, flowMask == nil, keySpace, 0)
}

// comparison is how bits that a flow wildcards compare: they count as zero, or are ignored with
// wild.
type comparison struct{ wild bool }

// selects compares the attributes of a key with want under mask. Only the bits of the key in
// cover count, or all if exact.
func (x comparison) selects(key, cover, want, mask []byte, exact bool, s space, depth int) bool {
	if depth > maxNesting {
		return false
	}
	it := netlink.NewAttrs(mask)
	for it.Next() {
		t := it.Type()
		m, k, w, c := it.Data(), netlink.FindAttr(key, t), netlink.FindAttr(want, t), netlink.FindAttr(cover, t)
		all := exact || c == nil && s.alwaysExact(t)
		if inner, is := s.nested(t); is {
			if k == nil && x.wild {
				continue
			}
			if k == nil || !x.selects(k, c, w, m, all, inner, depth+1) {
				return false
			}
			continue
		}
		if k == nil && x.wild {
			continue
		}
		if k == nil || w == nil {
			// One of the two is absent: an EtherType or a flag. Absent differs from present,
			// unless no bit counts.
			if (k == nil) != (w == nil) && (len(m) == 0 || !allZeros(m)) {
				return false
			}
			continue
		}
		for i, bits := range m {
			have := at(k, i)
			if !all {
				have &= at(c, i)
			}
			if !all && x.wild {
				bits &= at(c, i)
			}
			if (have^at(w, i))&bits != 0 {
				return false
			}
		}
	}
	return it.Err() == nil
}

// Masked returns key with all bits outside mask set to zero, as the kernel dumps the key of a
// flow. Attributes that mask lacks become zeros.
func Masked(key, mask []byte) []byte {
	var e netlink.Encoder
	appendMasked(&e, key, mask, keySpace, 0)
	return e.Bytes()
}

func appendMasked(e *netlink.Encoder, key, mask []byte, s space, depth int) {
	it := netlink.NewAttrs(key)
	for it.Next() {
		k, m := it.Data(), netlink.FindAttr(mask, it.Type())
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
