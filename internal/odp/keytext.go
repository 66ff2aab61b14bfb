package odp

import (
	"strconv"
	"strings"

	"dpifd/internal/netlink"
)

// keySyntax is a list of OVS_KEY_ATTR_* attributes: a key, or the content of ENCAP.
type keySyntax struct{}

func (keySyntax) fault(int) string { return "" }

func (keySyntax) append(w *writer, key, mask []byte, exact bool) {
	w.list(key, func(typ uint16, value []byte) {
		m := netlink.FindAttr(mask, typ)
		if exact || w.verbose || alwaysShown(typ) || m != nil && (len(m) == 0 || !allZeros(m)) {
			appendKeyAttr(w, typ, value, findMask(mask, typ, value, exact), exact)
		}
	})
	if !exact {
		walk(mask, func(typ uint16, m []byte) {
			if netlink.FindAttr(key, typ) == nil {
				appendMaskOnly(w, typ, m)
			}
		})
	}
}

// alwaysShown reports whether an attribute is written although it is wildcarded, because its
// presence is matched.
func alwaysShown(typ uint16) bool {
	switch typ {
	case KeyAttrEncap, KeyAttrTunnel, KeyAttrNSH, KeyAttrEthernet:
		return true
	}
	return false
}

func appendKeyAttr(w *writer, typ uint16, value, mask []byte, exact bool) {
	k := keyByType(typ)
	if k == nil {
		w.raw("key", typ, value, mask, exact)
		return
	}
	if s := k.fault(len(value)); s != "" {
		w.bad("key", typ, s, value)
		return
	}
	if !exact {
		if s := k.fault(len(mask)); s != "" || isLayout(k.syntax) && len(mask) != len(value) {
			w.bad("key", typ, "mask of another length, "+strconv.Itoa(len(mask)), value)
			return
		}
	}
	w.group(k.name, func() {
		w.nest(func() { k.append(w, value, mask, exact) })
	})
}

func isLayout(s syntax) bool {
	_, ok := s.(*layout)
	return ok
}

// appendMaskOnly writes an attribute that is only in the mask. A frame without EtherType has no
// such attribute in its key; the mask matches its absence.
func appendMaskOnly(w *writer, typ uint16, mask []byte) {
	switch {
	case typ == KeyAttrEthertype && len(mask) == 2:
		w.group("eth_type", func() { w.putf("0/0x%x", mask) })
	case !matchesNothing(typ, mask):
		w.raw("key", typ, nil, mask, false)
	}
}

// matchesNothing reports whether a mask is all wildcards. The kernel adds such masks of tunnels
// to every dump.
func matchesNothing(typ uint16, mask []byte) bool {
	if k := keyByType(typ); k == nil || isLayout(k.syntax) {
		return allZeros(mask)
	}
	nothing := true
	walk(mask, func(_ uint16, m []byte) { nothing = nothing && len(m) > 0 && allZeros(m) })
	return nothing
}

func (keySyntax) parse(p *parser) (key, mask []byte) {
	var entries []entry
	p.list(func() {
		at := p.pos
		name := p.word()
		if typ, ok := rawType("key", name); ok {
			e := parseRaw(p, typ)
			p.once(entries, at, name, e)
			entries = append(entries, e)
			return
		}
		k := keyByName(name)
		if k == nil {
			p.pos = at
			p.expected("a key attribute such as in_port(1)")
			return
		}
		e := entry{typ: k.typ}
		p.once(entries, at, name, e)
		p.group(func() { e.value, e.mask = k.parse(p) })
		if e.typ == KeyAttrEthertype && p.err == nil && allZeros(e.value) {
			// Any EtherType in a mask is matched, whatever its bits.
			e.noValue, e.noMask = true, allZeros(e.mask)
		}
		entries = append(entries, e)
	})
	return encodeEntries(p, entries)
}

// rawType returns N of a name like "key31".
func rawType(prefix, name string) (uint16, bool) {
	digits, ok := strings.CutPrefix(name, prefix)
	typ, err := strconv.ParseUint(digits, 10, 14) // NLA_TYPE_MASK has 14 bits
	return uint16(typ), ok && err == nil
}

// parseRaw reads (0a 0b 0c), (0a0b0c/ffff00) or (/ff).
func parseRaw(p *parser, typ uint16) entry {
	e := entry{typ: typ}
	p.group(func() {
		e.value = p.bytes()
		e.mask = allBits(len(e.value))
		at := p.pos
		if p.slash() {
			e.noValue = len(e.value) == 0
			e.mask = p.bytes()
			if !e.noValue && len(e.mask) != len(e.value) {
				p.fail(at, "the mask has %d bytes, the value %d", len(e.mask), len(e.value))
			}
		}
	})
	return e
}
