package odp

import "dpifd/internal/netlink"

// actionList is a list of OVS_ACTION_ATTR_* attributes.
type actionList struct{}

func (actionList) fault(int) string { return "" }

func (actionList) append(w *writer, list, _ []byte, _ bool) {
	if len(list) == 0 {
		w.puts("drop")
		return
	}
	w.list(list, func(typ uint16, data []byte) { appendAction(w, typ, data) })
}

func appendAction(w *writer, typ uint16, data []byte) {
	switch typ {
	case ActionAttrOutput:
		if f := number(4, portForm, true); f.fault(len(data)) != "" {
			w.bad("action", typ, f.fault(len(data)), data)
		} else {
			w.sep()
			f.append(w, data, nil, true)
		}
		return
	case ActionAttrSet, ActionAttrSetMasked:
		appendSet(w, typ, data)
		return
	}
	switch m := actionByType(typ); {
	case m == nil || m.syntax != nil && m.fault(len(data)) == "" && !m.fits(data):
		w.raw("action", typ, data, nil, true)
	case m.fits(data):
		m.append(w, data, nil, true)
	case m.style == lone:
		w.bad("action", typ, (&layout{}).fault(len(data)), data)
	default:
		w.bad("action", typ, m.fault(len(data)), data)
	}
}

// appendSet writes set(...) around the key attribute of the action. The attribute of a masked
// set contains the value, then the mask.
func appendSet(w *writer, typ uint16, data []byte) {
	it := netlink.NewAttrs(data)
	if !it.Next() {
		w.bad("action", typ, "no attribute to set", data)
		return
	}
	key, value := it.Type(), it.Data()
	if it.Next() || it.Err() != nil {
		w.bad("action", typ, "not one attribute to set", data)
		return
	}
	exact := typ == ActionAttrSet
	var mask []byte
	if !exact {
		var ok bool
		if value, mask, ok = splitMasked(key, value); !ok {
			w.bad("action", typ, "not a value and a mask", data)
			return
		}
	}
	verbose := w.verbose
	w.verbose = false
	w.group("set", func() { appendKeyAttr(w, key, value, mask, exact) })
	w.verbose = verbose
}

// splitMasked splits the payload of a masked set. Attributes inside NSH are split one by one.
func splitMasked(key uint16, b []byte) (value, mask []byte, ok bool) {
	if key != KeyAttrNSH {
		n := len(b) / 2
		return b[:n], b[n:], len(b)%2 == 0
	}
	var v, m netlink.Encoder
	it := netlink.NewAttrs(b)
	for it.Next() {
		n := len(it.Data()) / 2
		if len(it.Data())%2 != 0 {
			return nil, nil, false
		}
		v.Attr(it.Type(), it.Data()[:n])
		m.Attr(it.Type(), it.Data()[n:])
	}
	return v.Bytes(), m.Bytes(), it.Err() == nil
}

// joinMasked is the inverse of splitMasked. Bits outside the mask are zero in
// the value, as the kernel demands.
func joinMasked(p *parser, key uint16, value, mask []byte) []byte {
	if key != KeyAttrNSH {
		joined := append([]byte{}, value...)
		for i := range value {
			joined[i] &= mask[i]
		}
		return append(joined, mask...)
	}
	var entries []entry
	walk(value, func(typ uint16, v []byte) {
		entries = append(entries, entry{typ: typ, value: joinMasked(p, KeyAttrUnspec, v, netlink.FindAttr(mask, typ)),
			noMask: true})
	})
	list, _ := encodeEntries(p, entries)
	return list
}

func (actionList) parse(p *parser) (list, _ []byte) {
	masked := p.masked
	p.masked = false
	defer func() { p.masked = masked }()
	var entries []entry
	start, drop := p.pos, -1
	p.list(func() {
		if drop >= 0 || len(entries) > 0 && p.bareDrop() {
			p.fail(p.pos, "drop stands alone")
			return
		}
		if p.bareDrop() {
			drop = p.pos
			p.accept("drop")
			return
		}
		entries = append(entries, p.action())
	})
	if p.depth == 0 && drop < 0 && len(entries) == 0 {
		p.fail(start, "expected actions, or drop for none")
	}
	list, _ = encodeEntries(p, entries)
	return list, nil
}

// bareDrop reports whether "drop" comes next, and not as the action drop(...).
func (p *parser) bareDrop() bool {
	at := p.pos
	is := p.take(isNameByte) == "drop" && p.peek() != '('
	p.pos = at
	return is
}

// action reads one action. Masks are not used.
func (p *parser) action() entry {
	at := p.pos
	name := p.take(isNameByte)
	if p.peek() == '(' && name == "set" {
		return p.set()
	}
	if typ, ok := rawType("action", name); ok && p.peek() == '(' {
		return parseRaw(p, typ)
	}
	if m := actionByName(name); m != nil {
		value, _ := m.parse(p, -1, nil, nil, nil)
		return entry{typ: m.typ, value: value}
	}
	if p.peek() == '(' {
		p.fail(at, "%q is not an action", name)
	}
	p.pos = at
	value := make([]byte, 4)
	number(4, portForm, true).fields[0].parseValue(p, value, false)
	return entry{typ: ActionAttrOutput, value: value}
}

// set reads (...) around a key attribute.
func (p *parser) set() (e entry) {
	p.group(func() {
		p.space()
		at := p.pos
		name := p.word()
		k, full := keyByName(name), true
		p.masked = name != "tunnel"
		inner := entry{}
		if typ, ok := rawType("key", name); ok {
			inner = parseRaw(p, typ)
			full = allOnes(inner.mask)
			if inner.noValue {
				p.fail(at, "a value is needed to set")
			}
		} else if k == nil || k.typ == KeyAttrEncap {
			p.pos = at
			p.expected("a key attribute to set, such as ipv4(ttl=63)")
			return
		} else {
			inner.typ = k.typ
			p.group(func() { inner.value, inner.mask = k.parse(p) })
			full = isFull(k.syntax, inner.mask)
		}
		p.masked = false
		if p.err != nil {
			return
		}
		e.typ = ActionAttrSet
		if !full {
			e.typ = ActionAttrSetMasked
			inner.value = joinMasked(p, inner.typ, inner.value, inner.mask)
		}
		e.value, _ = encodeEntries(p, []entry{{typ: inner.typ, value: inner.value, noMask: true}})
	})
	return e
}

// isFull reports whether a mask covers everything that the syntax can express. The mask of a
// tunnel always does, because a tunnel cannot be set in part.
func isFull(s syntax, mask []byte) bool {
	switch s := s.(type) {
	case *layout:
		return s.full(mask)
	case *nested:
		full := true
		walk(mask, func(_ uint16, m []byte) { full = full && allOnes(m) })
		return full || s == tunnelSyntax
	}
	return true
}
