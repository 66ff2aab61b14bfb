package odp

import (
	"slices"
	"strings"

	"dpifd/internal/netlink"
)

// style is how an attribute inside another one is written.
type style uint8

const (
	flat  style = iota // its fields stand beside those of the others
	group              // name(...)
	bare               // name(...), or the name alone when nothing is inside
	lone               // the name alone: an attribute without payload
	bit                // one of flags(a|b): an attribute without payload
)

// member is an attribute inside another one.
type member struct {
	typ   uint16
	name  string // "" if flat
	style style
	syntax
	// halves: the payload is a value and then its mask.
	halves bool
	// is, if not nil, selects the payloads that this member writes. If several members have one
	// type, the first that fits writes it.
	is func(value []byte) bool
}

// nested is the syntax of an attribute that contains attributes, each at most once. They are
// written in the order of the table.
type nested struct {
	members []member
	// implied names a flag among the bits which means that the attribute with type impliedType,
	// of impliedSize bytes, is present. The value may be wildcarded and not written.
	implied     string
	impliedType uint16
	impliedSize int
	// prefix is the prefix of attributes without syntax, as in key31(ff); "" means "key".
	prefix string
}

func (n *nested) other() string {
	if n.prefix != "" {
		return n.prefix
	}
	return "key"
}

func (n *nested) fault(int) string { return "" }

func (n *nested) append(w *writer, value, mask []byte, exact bool) {
	taken := map[int]bool{} // attributes of value, by place
	for i := range n.members {
		m := &n.members[i]
		if m.style == bit {
			continue
		}
		place := 0
		walk(value, func(typ uint16, data []byte) {
			if typ == m.typ && !taken[place] && m.fits(data) && !n.written(taken, value, typ) {
				taken[place] = true
				m.append(w, data, findMask(mask, typ, data, exact), exact)
			}
			place++
		})
	}
	place := 0
	w.list(value, func(typ uint16, data []byte) {
		if !taken[place] && !(n.isBit(typ) && len(data) == 0) {
			n.appendOther(w, typ, data, findMask(mask, typ, data, exact), exact)
		}
		place++
	})
	n.appendBits(w, value, mask, exact)
}

// written reports whether an attribute of the type was.
func (n *nested) written(taken map[int]bool, list []byte, typ uint16) bool {
	place, found := 0, false
	walk(list, func(t uint16, _ []byte) {
		found = found || t == typ && taken[place]
		place++
	})
	return found
}

// walk calls fn for each attribute before the list's first fault.
func walk(list []byte, fn func(typ uint16, data []byte)) {
	it := netlink.NewAttrs(list)
	for it.Next() {
		fn(it.Type(), it.Data())
	}
}

// findMask returns the mask of an attribute: zeros if there is none.
func findMask(mask []byte, typ uint16, value []byte, exact bool) []byte {
	if exact {
		return nil
	}
	if m := netlink.FindAttr(mask, typ); m != nil {
		return m
	}
	return make([]byte, len(value))
}

func (m *member) fits(data []byte) bool {
	n := len(data)
	if m.halves {
		if n%2 != 0 {
			return false
		}
		n /= 2
	}
	if m.style == lone {
		return n == 0
	}
	return m.fault(n) == "" && (m.is == nil || m.is(data))
}

func (m *member) append(w *writer, value, mask []byte, exact bool) {
	if m.halves {
		value, mask, exact = value[:len(value)/2], value[len(value)/2:], false
	}
	if !exact && m.style != lone && m.fault(len(mask)) != "" {
		w.bad("key", m.typ, "bad mask "+m.fault(len(mask)), value)
		return
	}
	switch m.style {
	case flat:
		m.syntax.append(w, value, mask, exact)
	case lone:
		w.sep()
		w.puts(m.name)
	case group, bare:
		w.group(m.name, func() {
			w.nest(func() { m.syntax.append(w, value, mask, exact) })
		})
		if m.style == bare && strings.HasSuffix(string(w.buf), "()") {
			w.buf = w.buf[:len(w.buf)-2]
		}
	}
}

// appendOther writes an attribute that no member fits.
func (n *nested) appendOther(w *writer, typ uint16, value, mask []byte, exact bool) {
	for i := range n.members {
		m := &n.members[i]
		if m.typ == typ && m.syntax != nil && m.is == nil && !m.halves && m.fault(len(value)) != "" {
			w.bad(n.other(), typ, m.fault(len(value)), value)
			return
		}
	}
	w.raw(n.other(), typ, value, mask, exact)
}

func (n *nested) isBit(typ uint16) bool {
	return slices.ContainsFunc(n.members, func(m member) bool { return m.style == bit && m.typ == typ })
}

// flagsField describes the flags of the bits.
func (n *nested) flagsField() (f field, types []uint16) {
	f = field{name: "", size: 2, form: flagsForm}
	for i := range n.members {
		if n.members[i].style == bit {
			f.names = append(f.names, n.members[i].name)
			types = append(types, n.members[i].typ)
		}
	}
	if n.implied != "" {
		f.names = append(f.names, n.implied)
		types = append(types, n.impliedType)
	}
	f.width = len(f.names)
	return f, types
}

func (n *nested) appendBits(w *writer, value, mask []byte, exact bool) {
	f, types := n.flagsField()
	if len(types) == 0 {
		return
	}
	var v, m uint64
	for i, typ := range types {
		in := netlink.FindAttr(value, typ)
		switch {
		case f.names[i] == n.implied:
			if in != nil {
				v |= 1 << i
				m |= 1 << i
			}
		case len(in) == 0: // with a payload it is written as unknown
			if in != nil {
				v |= 1 << i
			}
			if netlink.FindAttr(mask, typ) != nil {
				m |= 1 << i
			}
		}
	}
	var vb, mb [2]byte
	f.put(vb[:], v)
	f.put(mb[:], m)
	switch {
	case exact:
		w.group("flags", func() { f.append(w, vb[:], nil, false) })
	case m != 0 || w.verbose:
		w.group("flags", func() { f.appendFlags(w, vb[:], mb[:], m == f.limit()) })
	}
}
