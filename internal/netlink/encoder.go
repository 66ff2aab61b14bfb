package netlink

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
)

const (
	// attrHeaderLen is sizeof(struct nlattr), linux/netlink.h.
	attrHeaderLen = 4
	// attrAlign is NLA_ALIGNTO, linux/netlink.h.
	attrAlign = 4
)

// Encoder appends netlink messages and attributes to a buffer that its caller
// lends with Reset. It allocates only when the buffer is too small, so a
// caller that keeps the buffer (Reset(e.Bytes())) encodes without allocation.
//
// Errors latch: after the first one every call is a no-op and Err returns it,
// so a sequence of calls needs one check at its end.
//
// An Encoder is used in two ways: as a bare attribute list (actions, masks),
// or as a list of messages, each opened by Begin and closed by End.
// The zero value is ready for use. It is not safe for concurrent use.
type Encoder struct {
	buf   []byte
	start int  // offset of the open message's nlmsghdr
	open  bool // between Begin and End
	err   error
}

// Reset empties the encoder and makes buf's memory its buffer. The encoder
// owns buf until the next Reset.
func (e *Encoder) Reset(buf []byte) {
	*e = Encoder{buf: buf[:0]}
}

// Clear empties the encoder and keeps its buffer.
func (e *Encoder) Clear() {
	e.buf = e.buf[:0]
	e.start, e.open, e.err = 0, false, nil
}

// Bytes returns what was encoded. The slice aliases the encoder's buffer: it
// is valid until the next call that appends, and until Reset or Clear.
func (e *Encoder) Bytes() []byte { return e.buf }

// Len returns the number of bytes encoded.
func (e *Encoder) Len() int { return len(e.buf) }

// Err returns the first error since Reset, or nil.
func (e *Encoder) Err() error { return e.err }

func (e *Encoder) fail(format string, args ...any) {
	if e.err == nil {
		e.err = &OpError{Op: "encode", Err: fmt.Errorf(format, args...)}
	}
}

// Begin opens a message with a struct nlmsghdr (linux/netlink.h) of the given
// type and flags. Length is filled in by End, the sequence number and port id
// by the socket that sends it.
func (e *Encoder) Begin(typ, flags uint16) {
	if e.err != nil {
		return
	}
	if e.open {
		e.fail("message begun inside a message")
		return
	}
	e.start, e.open = len(e.buf), true
	h := e.extend(headerLen)
	clear(h)
	binary.NativeEndian.PutUint16(h[4:], typ)
	binary.NativeEndian.PutUint16(h[flagsOffset:], flags)
}

// extend appends n bytes, which the caller must set: they contain old data. n keeps the
// alignment.
func (e *Encoder) extend(n int) []byte {
	from := len(e.buf)
	if cap(e.buf)-from < n {
		e.grow(n)
	}
	e.buf = e.buf[:from+n]
	return e.buf[from:]
}

func (e *Encoder) grow(n int) { e.buf = slices.Grow(e.buf, n) }

// End closes the message opened by Begin.
func (e *Encoder) End() { e.end(0) }

// end closes the open message; extra is the number of its bytes that are not
// in the buffer (gathered by reference).
func (e *Encoder) end(extra int) {
	if e.err != nil {
		return
	}
	if !e.open {
		e.fail("message ended before it was begun")
		return
	}
	e.open = false
	n := len(e.buf) - e.start + extra
	if uint64(n) > math.MaxUint32 {
		e.fail("message of %d bytes", n)
		return
	}
	binary.NativeEndian.PutUint32(e.buf[e.start:], uint32(n))
}

// Raw appends b as it is: the fixed headers between nlmsghdr and attributes
// (struct genlmsghdr, struct ovs_header). b's length must keep the alignment
// of 4 bytes.
func (e *Encoder) Raw(b ...byte) {
	if e.err != nil {
		return
	}
	if len(b)%attrAlign != 0 {
		e.fail("header of %d bytes is not aligned", len(b))
		return
	}
	e.buf = append(e.buf, b...)
}

// RawUint32 appends v in native byte order, without an attribute header.
func (e *Encoder) RawUint32(v uint32) {
	if e.err == nil {
		e.buf = binary.NativeEndian.AppendUint32(e.buf, v)
	}
}

// attr appends a struct nlattr for a payload of n bytes, zeros up to the alignment, and room bytes
// for the part of the payload that is in the buffer. It returns that part, nil after an error.
func (e *Encoder) attr(t uint16, n, room int) []byte {
	if e.err != nil {
		return nil
	}
	if n > math.MaxUint16-attrHeaderLen {
		e.fail("attribute %d: payload of %d bytes exceeds %d", t, n, math.MaxUint16-attrHeaderLen)
		return nil
	}
	b := e.extend(attrHeaderLen + alignAttr(room))
	// The padding is in the last word.
	binary.NativeEndian.PutUint32(b[len(b)-attrAlign:], 0)
	putAttrHeader(b, n+attrHeaderLen, t)
	return b[attrHeaderLen:]
}

// MaxSpace is the maximum number of bytes that Space appends.
const MaxSpace = math.MaxUint16 &^ (attrAlign - 1)

// Space appends n bytes, a multiple of the alignment, which the caller must fill: they contain
// old data. The slice is valid until the next call that appends, and nil after an error. Space
// and PutAttr are for messages on the packet path. More than MaxSpace bytes are an error.
func (e *Encoder) Space(n int) []byte {
	if e.err != nil {
		return nil
	}
	if n%attrAlign != 0 || n > MaxSpace {
		e.fail("space of %d bytes, want a multiple of %d up to %d", n, attrAlign, MaxSpace)
		return nil
	}
	return e.extend(n)
}

// AttrSize returns the size in a list of an attribute with a payload of n bytes.
func AttrSize(n int) int { return attrHeaderLen + alignAttr(n) }

// PutAttr writes an attribute to the start of b, which must have room for it (AttrSize), and
// returns the rest of b. The payload is at most 65,531 bytes, the limit of an attribute.
func PutAttr(b []byte, t uint16, payload []byte) []byte {
	n := attrHeaderLen + len(payload)
	end := alignAttr(n)
	binary.NativeEndian.PutUint32(b[end-attrAlign:], 0) // the padding is in the last word
	putAttrHeader(b, n, t)
	copy(b[attrHeaderLen:], payload)
	return b[end:]
}

// putAttrHeader writes a struct nlattr of an attribute of n bytes, header included.
func putAttrHeader(b []byte, n int, t uint16) {
	h := (*[attrHeaderLen]byte)(b)
	binary.NativeEndian.PutUint16(h[:2], uint16(n))
	binary.NativeEndian.PutUint16(h[2:], t)
}

// Flag appends an attribute without payload.
func (e *Encoder) Flag(t uint16) { e.attr(t, 0, 0) }

// Uint8 appends an attribute of one byte.
func (e *Encoder) Uint8(t uint16, v uint8) {
	if b := e.attr(t, 1, 1); b != nil {
		b[0] = v
	}
}

// Uint16 appends an attribute in native byte order.
func (e *Encoder) Uint16(t uint16, v uint16) {
	if b := e.attr(t, 2, 2); b != nil {
		binary.NativeEndian.PutUint16(b, v)
	}
}

// Uint32 appends an attribute in native byte order.
func (e *Encoder) Uint32(t uint16, v uint32) {
	if e.err != nil {
		return
	}
	b := (*[attrHeaderLen + 4]byte)(e.extend(attrHeaderLen + 4))
	putAttrHeader(b[:attrHeaderLen], len(b), t)
	binary.NativeEndian.PutUint32(b[attrHeaderLen:], v)
}

// Uint64 appends an attribute in native byte order. Like all of netlink it is
// aligned to 4 bytes only.
func (e *Encoder) Uint64(t uint16, v uint64) {
	if b := e.attr(t, 8, 8); b != nil {
		binary.NativeEndian.PutUint64(b, v)
	}
}

// Attr appends an attribute with payload b, padded to the alignment.
func (e *Encoder) Attr(t uint16, b []byte) { copy(e.attr(t, len(b), len(b)), b) }

// String appends a NUL-terminated string.
func (e *Encoder) String(t uint16, s string) {
	if b := e.attr(t, len(s)+1, len(s)+1); b != nil {
		b[copy(b, s)] = 0
	}
}

// Nested appends an attribute whose payload is what fn encodes. NLA_F_NESTED
// is not set unless the caller includes it in t: the openvswitch families
// neither set nor need it.
func (e *Encoder) Nested(t uint16, fn func(*Encoder)) {
	if e.attr(t, 0, 0) == nil {
		return
	}
	start := len(e.buf)
	fn(e)
	if e.err != nil {
		return
	}
	n := len(e.buf) - start + attrHeaderLen
	if n > math.MaxUint16 {
		e.fail("attribute %d: nested payload of %d bytes exceeds %d", t, n-attrHeaderLen, math.MaxUint16-attrHeaderLen)
		return
	}
	binary.NativeEndian.PutUint16(e.buf[start-attrHeaderLen:], uint16(n))
}
