package netlink

import (
	"encoding/binary"
	"fmt"
	"math"

	"golang.org/x/sys/unix"
)

// attrTypeMask removes NLA_F_NESTED and NLA_F_NET_BYTEORDER (NLA_TYPE_MASK,
// linux/netlink.h).
const attrTypeMask = ^uint16(unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)

// Attrs iterates over a list of attributes (struct nlattr, linux/netlink.h).
// It borrows the bytes it is given: every Data it returns aliases them.
//
//	it := netlink.NewAttrs(b)
//	for it.Next() {
//		switch it.Type() { ... it.Uint32() ... }
//	}
//	err := it.Err()
//
// A malformed list ends the iteration with an error; attributes before the error have been
// returned. Typed accessors latch an error if the payload has another size. The last attribute may
// lack its padding, which the kernel leaves out if OVS_DP_F_UNALIGNED is set.
type Attrs struct {
	rest []byte
	data []byte
	typ  uint16
	size int // of the list
	off  int // offset of the current attribute
	err  error
}

// NewAttrs returns an iterator over b, which it borrows.
func NewAttrs(b []byte) Attrs { return Attrs{rest: b, size: len(b)} }

// Next advances to the next attribute and reports whether there is one.
func (a *Attrs) Next() bool {
	b := a.rest
	if a.err != nil || len(b) == 0 {
		return false
	}
	a.off = a.size - len(b)
	n := attrLen(b)
	if n == 0 {
		a.malformed()
		return false
	}
	a.typ = binary.NativeEndian.Uint16(b[2:]) & attrTypeMask
	a.data = b[attrHeaderLen:n:n]
	a.rest = b[min(alignAttr(n), len(b)):]
	return true
}

// attrLen returns the length of the attribute at the start of b, 0 if b does not start with a
// whole attribute.
func attrLen(b []byte) int {
	if len(b) < attrHeaderLen {
		return 0
	}
	n := int(binary.NativeEndian.Uint16(b))
	if n < attrHeaderLen || n > len(b) {
		return 0
	}
	return n
}

// NoAttr is the type that CutAttr returns if there is no attribute. No attribute has this type.
const NoAttr = math.MaxUint16

// CutAttr cuts the first attribute off the list b: its type without flag bits, its
// payload and the rest of the list, all borrowed from b. t is NoAttr if b does not
// begin with a whole attribute.
func CutAttr(b []byte) (t uint16, data, rest []byte) {
	n := attrLen(b)
	if n == 0 {
		return NoAttr, nil, nil
	}
	return binary.NativeEndian.Uint16(b[2:]) & attrTypeMask, b[attrHeaderLen:n:n], b[min(alignAttr(n), len(b)):]
}

// AttrAt returns the attribute at an offset of the list b: its type without flag bits, where its
// payload begins and ends, and the offset of the next attribute, len(b) or more if there is none. t is
// NoAttr if there is no whole attribute. It does what CutAttr does at half the cost.
func AttrAt(b []byte, at int) (t uint16, from, to, next int) {
	if len(b)-at < attrHeaderLen {
		return NoAttr, 0, 0, 0
	}
	h := b[at : at+attrHeaderLen : at+attrHeaderLen]
	n := int(binary.NativeEndian.Uint16(h))
	if n < attrHeaderLen || n > len(b)-at {
		return NoAttr, 0, 0, 0
	}
	return binary.NativeEndian.Uint16(h[2:]) & attrTypeMask, at + attrHeaderLen, at + n, at + alignAttr(n)
}

func alignAttr(n int) int { return (n + attrAlign - 1) &^ (attrAlign - 1) }

// malformed sets the error that explains why attrLen returned 0.
func (a *Attrs) malformed() {
	if len(a.rest) < attrHeaderLen {
		a.fail("%d bytes left, a header takes %d", len(a.rest), attrHeaderLen)
		return
	}
	a.fail("length %d with %d bytes left", binary.NativeEndian.Uint16(a.rest), len(a.rest))
}

// FindAttr returns the payload of the first attribute t of the list b, borrowed from it. It is
// nil if there is none before the end or the first fault, and not nil if the payload is empty.
func FindAttr(b []byte, t uint16) []byte {
	for {
		n := attrLen(b)
		if n == 0 {
			return nil
		}
		if binary.NativeEndian.Uint16(b[2:])&attrTypeMask == t {
			return b[attrHeaderLen:n:n]
		}
		if n = alignAttr(n); n >= len(b) {
			return nil
		}
		b = b[n:]
	}
}

// CheckAttrs returns the error with which an iteration over the list b ends, nil if it is well
// formed.
func CheckAttrs(b []byte) error {
	it := NewAttrs(b)
	for it.Next() {
	}
	return it.Err()
}

func (a *Attrs) fail(format string, args ...any) {
	if a.err == nil {
		a.err = &OpError{Op: "decode", Err: fmt.Errorf("attribute at offset %d: %w: %s", a.off, ErrMalformed,
			fmt.Sprintf(format, args...))}
	}
}

// Err returns the first error met, or nil.
func (a *Attrs) Err() error { return a.err }

// Type returns the current attribute's type without its flag bits.
func (a *Attrs) Type() uint16 { return a.typ }

// Data returns the current attribute's payload, borrowed from the iterator's
// bytes.
func (a *Attrs) Data() []byte { return a.data }

func (a *Attrs) sized(n int) bool {
	if len(a.data) != n {
		a.fail("type %d has %d bytes of payload, want %d", a.typ, len(a.data), n)
		return false
	}
	return a.err == nil
}

// Uint8 returns the payload as one byte.
func (a *Attrs) Uint8() uint8 {
	if !a.sized(1) {
		return 0
	}
	return a.data[0]
}

// Uint16 returns the payload in native byte order.
func (a *Attrs) Uint16() uint16 {
	if !a.sized(2) {
		return 0
	}
	return binary.NativeEndian.Uint16(a.data)
}

// Uint32 returns the payload in native byte order.
func (a *Attrs) Uint32() uint32 {
	if !a.sized(4) {
		return 0
	}
	return binary.NativeEndian.Uint32(a.data)
}

// Uint64 returns the payload in native byte order.
func (a *Attrs) Uint64() uint64 {
	if !a.sized(8) {
		return 0
	}
	return binary.NativeEndian.Uint64(a.data)
}

// String returns the payload up to its first NUL byte. It allocates.
func (a *Attrs) String() string {
	for i, c := range a.data {
		if c == 0 {
			return string(a.data[:i])
		}
	}
	return string(a.data)
}

// Nested returns an iterator over the payload.
func (a *Attrs) Nested() Attrs { return NewAttrs(a.data) }
