package odp

import (
	"slices"
	"strings"

	"dpifd/internal/netlink"
)

// entry is one attribute of a list that is being read. With maskOnly it is only in the mask.
type entry struct {
	typ         uint16
	value, mask []byte
	noValue     bool
	noMask      bool
}

// once fails if a new entry has the type of an old one: the kernel refuses an attribute that
// appears twice.
func (p *parser) once(old []entry, at int, name string, added ...entry) {
	for _, e := range added {
		if slices.ContainsFunc(old, func(o entry) bool { return o.typ == e.typ }) {
			p.fail(at, "%s, attribute %d, is given twice", name, e.typ)
		}
	}
}

// encodeEntries encodes entries as attribute lists.
func encodeEntries(p *parser, entries []entry) (value, mask []byte) {
	var v, m netlink.Encoder
	for _, e := range entries {
		if !e.noValue {
			v.Attr(e.typ, e.value)
		}
		if !e.noMask {
			m.Attr(e.typ, e.mask)
		}
	}
	if err := v.Err(); err != nil {
		p.fail(p.pos, "too long: %v", err)
	}
	return v.Bytes(), m.Bytes()
}

func (n *nested) parse(p *parser) (value, mask []byte) {
	var entries []entry
	type place struct {
		at     int    // in entries
		fields uint64 // that were given
	}
	seen := map[*member]*place{}
	implied := false
	p.list(func() {
		at := p.pos
		name := p.word()
		if f, types := n.flagsField(); name == "flags" && len(types) > 0 {
			bits, isImplied := parseBits(p, f, types, n.implied)
			p.once(entries, at, name, bits...)
			entries = append(entries, bits...)
			implied = implied || isImplied
			return
		}
		if typ, ok := rawType(n.other(), name); ok {
			e := parseRaw(p, typ)
			p.once(entries, at, name, e)
			entries = append(entries, e)
			return
		}
		m, field := n.byName(name)
		if m == nil {
			p.pos = at
			p.expected("one of " + strings.Join(n.names(), ", "))
			return
		}
		if seen[m] == nil {
			seen[m] = &place{at: len(entries)}
			e := entry{typ: m.typ}
			if l, ok := m.syntax.(*layout); ok && m.style == flat {
				e.value, e.mask = l.zero()
			}
			p.once(entries, at, name, e)
			entries = append(entries, e)
		} else if field < 0 {
			p.fail(at, "%s is given twice", name)
		}
		to := seen[m]
		value, mask := m.parse(p, field, &to.fields, entries[to.at].value, entries[to.at].mask)
		entries[to.at].value, entries[to.at].mask = value, mask
	})
	if implied && !slices.ContainsFunc(entries, func(e entry) bool { return e.typ == n.impliedType }) {
		entries = append(entries, entry{typ: n.impliedType, value: make([]byte, n.impliedSize),
			mask: make([]byte, n.impliedSize)})
	}
	return encodeEntries(p, entries)
}

// byName finds the member that a name belongs to, and which of its fields if
// it is flat, else -1.
func (n *nested) byName(name string) (*member, int) {
	for i := range n.members {
		m := &n.members[i]
		if l, ok := m.syntax.(*layout); ok && m.style == flat {
			if j := slices.Index(l.fieldNames(), name); j >= 0 {
				return m, j
			}
		} else if m.name == name && m.style != bit {
			return m, -1
		}
	}
	return nil, -1
}

// names lists what byName finds.
func (n *nested) names() []string {
	var names []string
	for i := range n.members {
		m := &n.members[i]
		if l, ok := m.syntax.(*layout); ok && m.style == flat {
			names = append(names, l.fieldNames()...)
		} else if m.style != bit {
			names = append(names, m.name)
		}
	}
	if _, types := n.flagsField(); len(types) > 0 {
		names = append(names, "flags")
	}
	return names
}

// parse reads what follows the member's name, or that of one of its fields.
func (m *member) parse(p *parser, field int, seen *uint64, value, mask []byte) ([]byte, []byte) {
	masked := p.masked
	p.masked = masked || m.halves
	defer func() { p.masked = masked }()
	switch {
	case m.style == lone:
	case field >= 0:
		value, mask = m.syntax.(*layout).parseField(p, field, seen, value, mask)
	case m.style == bare && p.peek() != '(':
		return nil, nil
	default:
		p.group(func() { value, mask = m.syntax.parse(p) })
	}
	if m.halves && p.err == nil {
		value = append(value, mask...)
		mask = allBits(len(value))
	}
	return value, mask
}

// parseBits reads (a|b) or (+a-b) as attributes without payload, and whether
// the implied one is among them.
func parseBits(p *parser, f field, types []uint16, implied string) (entries []entry, isImplied bool) {
	var v, m [2]byte
	p.group(func() {
		p.space()
		if p.peek() != ')' {
			f.parseFlags(p, v[:], m[:])
		}
	})
	for i, typ := range types {
		bit := uint64(1) << i
		e := entry{typ: typ, noValue: f.get(v[:])&bit == 0, noMask: f.get(m[:])&bit == 0}
		switch {
		case f.names[i] == implied:
			isImplied = !e.noValue
		case !e.noValue || !e.noMask:
			entries = append(entries, e)
		}
	}
	return entries, isImplied
}
