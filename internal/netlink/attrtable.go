package netlink

import "encoding/binary"

const (
	// tableTypes is the number of attribute types that a table indexes: those numbered below it.
	// Others are searched.
	tableTypes = 32
	// shapeLen is the maximum number of attributes of a list whose shape a table keeps.
	shapeLen = 24
)

// AttrTable finds the attributes of a list by type. It scans the list once, which pays if
// several attributes are needed. It borrows the list. The zero value is the table of an empty
// list. A table is large: keep it instead of copying it.
type AttrTable struct {
	list  []byte
	err   error
	have  uint32 // bit t: the list has type t
	place [tableTypes]span
	// shape holds the headers of a list's attributes. The next list often has the same ones, and
	// then the same places.
	shape  [shapeLen]shapeAttr
	shaped int // attributes in shape, 0 if it holds none
	size   int // of the list of that shape
}

// shapeAttr is the header of an attribute, and its position in a list.
type shapeAttr struct{ at, header uint32 }

// span is the position of a payload in a list.
type span struct{ from, to uint32 }

// Scan makes a the table of the list b and returns Err.
func (a *AttrTable) Scan(b []byte) error {
	a.list, a.err = b, nil
	if a.hasShape(b) {
		return nil
	}
	a.shaped, a.size = 0, len(b)
	have, count := uint32(0), 0
	from, left := 0, len(b)
	for left >= attrHeaderLen {
		h := (*[attrHeaderLen]byte)(b[from:])
		n, t := int(binary.NativeEndian.Uint16(h[:2])), binary.NativeEndian.Uint16(h[2:])&attrTypeMask
		if n < attrHeaderLen || n > left {
			break
		}
		if t < tableTypes && have>>t&1 == 0 {
			have |= 1 << t
			a.place[t] = span{uint32(from + attrHeaderLen), uint32(from + n)}
		}
		if count < shapeLen {
			a.shape[count] = shapeAttr{uint32(from), binary.NativeEndian.Uint32(h[:])}
		}
		count++
		from += alignAttr(n)
		left = len(b) - from
	}
	a.have = have
	if left > 0 {
		a.err = CheckAttrs(b)
	} else if count <= shapeLen {
		a.shaped = count
	}
	return a.err
}

// hasShape reports whether b consists of attributes with the headers in shape.
func (a *AttrTable) hasShape(b []byte) bool {
	if len(b) != a.size || a.shaped == 0 {
		return false
	}
	for _, s := range a.shape[:a.shaped] {
		// Written so that it costs one check of bounds: the shape's list was as long.
		at := int(s.at)
		if h := b[at : at+attrHeaderLen : at+attrHeaderLen]; binary.NativeEndian.Uint32(h) != s.header {
			return false
		}
	}
	return true
}

// Of reports whether a is the table of exactly these bytes.
func (a *AttrTable) Of(b []byte) bool {
	return len(a.list) == len(b) && (len(b) == 0 || &a.list[0] == &b[0])
}

// List returns the list.
func (a *AttrTable) List() []byte { return a.list }

// HasAny reports whether the list has one of the types whose bits are set: bit t
// for type t.
func (a *AttrTable) HasAny(types uint32) bool { return a.have&types != 0 }

// Err returns what is malformed in the list, or nil. The table has the attributes before the
// fault.
func (a *AttrTable) Err() error { return a.err }

// Get returns the payload of the first attribute of type t, borrowed from the list: nil if there is
// none, and not nil if the payload is empty.
func (a *AttrTable) Get(t uint16) []byte {
	if t >= tableTypes {
		return FindAttr(a.list, t)
	}
	if a.have>>t&1 == 0 {
		return nil
	}
	p := &a.place[t]
	return a.list[p.from:p.to:p.to]
}

// Precedes reports whether the list has both types, t before the other. Both are numbers that
// a table indexes, below 32.
func (a *AttrTable) Precedes(t, other uint16) bool {
	both := uint32(1)<<t | uint32(1)<<other
	return a.have&both == both && a.place[t].from < a.place[other].from
}

// Before returns the part of the list before the first attribute of type t, borrowed from it: the
// whole list if there is none.
func (a *AttrTable) Before(t uint16) []byte {
	if t >= tableTypes || a.have>>t&1 == 0 {
		return a.list
	}
	n := a.place[t].from - attrHeaderLen
	return a.list[:n:n]
}
