package odp

import (
	"fmt"
	"slices"
	"strings"
)

// layout is the syntax of a structure, or of an array of them.
type layout struct {
	size   int // in bytes; the minimum if the payload ends with a field of size 0
	fields []field
	// unset is the value of bits that the text does not mention but that are matched; nil is
	// none.
	unset []byte
	array bool // one structure or more
	// allMasks writes the masks of all fields if one is not full.
	allMasks bool
	// complete: the text must name each field except implied ones.
	complete bool
}

func (l *layout) open() bool { return len(l.fields) == 1 && l.fields[0].size == 0 }

func (l *layout) scalar() bool { return len(l.fields) == 1 && l.fields[0].name == "" }

func (l *layout) fault(n int) string {
	switch {
	case l.array && (n == 0 || n%l.size != 0):
		return fmt.Sprintf("bad length %d, expected a multiple of %d", n, l.size)
	case l.open() && n < l.size:
		return fmt.Sprintf("bad length %d, expected %d at least", n, l.size)
	case !l.array && !l.open() && n != l.size:
		return fmt.Sprintf("bad length %d, expected %d", n, l.size)
	}
	return ""
}

func (l *layout) append(w *writer, value, mask []byte, exact bool) {
	if exact {
		mask = nil
	}
	masks := l.allMasks && mask != nil && !l.full(mask)
	for n := 0; ; n += l.size {
		v, m := value, mask
		if l.array {
			if n == len(value) {
				return
			}
			v = value[n : n+l.size]
			if mask != nil {
				m = mask[n : n+l.size]
			}
		}
		for i := range l.fields {
			l.fields[i].append(w, v, m, masks)
		}
		if !l.array {
			return
		}
	}
}

// full reports whether a mask has all bits of all fields.
func (l *layout) full(mask []byte) bool {
	for n := 0; n+l.size <= len(mask); n += l.size {
		for i := range l.fields {
			if _, full := l.fields[i].state(mask[n:]); !full {
				return false
			}
		}
		if !l.array {
			break
		}
	}
	return true
}

func (l *layout) zero() (value, mask []byte) {
	value, mask = make([]byte, l.size), make([]byte, l.size)
	copy(value, l.unset)
	copy(mask, l.unset)
	return value, mask
}

func (l *layout) parse(p *parser) (value, mask []byte) {
	value, mask = l.zero()
	if l.scalar() {
		p.space()
		return l.fields[0].parse(p, value, mask)
	}
	var seen uint64
	done := 0 // bytes of whole elements of an array
	p.list(func() {
		i := l.parseName(p)
		if i < 0 {
			return
		}
		if l.array && seen&(1<<i) != 0 {
			v, m := l.zero()
			done += l.size
			value, mask, seen = append(value, v...), append(mask, m...), 0
		}
		l.parseField(p, i, &seen, value[done:], mask[done:])
	})
	l.requireAll(p, seen)
	return value, mask
}

// parseName reads the name of a field and returns its place.
func (l *layout) parseName(p *parser) int {
	at := p.pos
	name := p.word()
	i := slices.IndexFunc(l.fields, func(f field) bool { return name != "" && (f.name == name || f.alias == name) })
	if i < 0 {
		p.pos = at
		p.expected("one of " + strings.Join(l.fieldNames(), ", "))
	}
	return i
}

func (l *layout) fieldNames() []string {
	var names []string
	for i := range l.fields {
		names = append(names, l.fields[i].name)
	}
	return names
}

// parseField reads what follows the name of a field.
func (l *layout) parseField(p *parser, i int, seen *uint64, value, mask []byte) ([]byte, []byte) {
	f := &l.fields[i]
	if *seen&(1<<i) != 0 {
		p.fail(p.pos, "%s is given twice", f.name)
	}
	*seen |= 1 << i
	p.space()
	p.expect("=")
	p.space()
	return f.parse(p, value, mask)
}

// requireAll fails if a required field is missing.
func (l *layout) requireAll(p *parser, seen uint64) {
	for i := range l.fields {
		if f := &l.fields[i]; l.complete && seen&(1<<i) == 0 && f.implied == 0 && !f.optional && f.form != presentForm {
			p.expected(f.name + "=")
		}
	}
}

// covers reports whether the fields show each bit of value that differs from unset, so that the
// text is complete.
func (l *layout) covers(value []byte) bool {
	if l.fault(len(value)) != "" {
		return false
	}
	rest, unset := slices.Clone(value), make([]byte, len(value))
	copy(unset, l.unset)
	for i := range l.fields {
		for _, b := range [][]byte{rest, unset} {
			if f := &l.fields[i]; f.isNumber() {
				f.put(b, 0)
			} else {
				clear(f.in(b))
			}
		}
	}
	return slices.Equal(rest, unset)
}
