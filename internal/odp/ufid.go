package odp

import (
	"encoding/binary"
	"hash/maphash"

	"dpifd/internal/netlink"
)

// UFIDHasher derives a flow's identifier (UFID, 16 bytes as MAX_UFID_LENGTH of
// net/openvswitch/flow.h, Linux 6.1) from what the flow matches. Its seeds are
// random, so that nobody can choose packets whose flows collide; two hashers
// give different UFIDs. It is immutable: several goroutines may use it at once.
type UFIDHasher struct {
	lo, hi maphash.Seed
}

// NewUFIDHasher returns a hasher with fresh seeds. The zero UFIDHasher is not
// usable.
func NewUFIDHasher() *UFIDHasher {
	return &UFIDHasher{lo: maphash.MakeSeed(), hi: maphash.MakeSeed()}
}

// HashMasked returns the UFID of the flow with this key and mask, both lists of
// OVS_KEY_ATTR_* attributes. Keys that the flow covers have the same UFID:
// it depends on the mask, on the bits of key that are set in the mask, and on
// what the kernel matches exactly in any case, the in-port and the TCI of both
// VLAN tags. Attributes that only the mask has count as zero in the key. Of a
// malformed list it reads what precedes the fault. It does not allocate.
func (u *UFIDHasher) HashMasked(key, mask []byte) [16]byte {
	h := masked{seeds: u}
	var a keyAttrs
	_ = a.scan(key) // what precedes a fault counts
	h.exact(&a)
	h.attrs(key, &a, mask, keySpace, 0)
	lo, hi := h.sums()
	var id [16]byte
	binary.NativeEndian.PutUint64(id[:], lo)
	binary.NativeEndian.PutUint64(id[8:], hi)
	return id
}

// masked feeds both hashes through one buffer. What does not fit is replaced by
// its hashes, with which the buffer begins then.
type masked struct {
	seeds *UFIDHasher
	n     int
	buf   [128]byte
}

// hashChunk is how much there is room for in any case.
const hashChunk = 96

// sums returns both hashes of what is in the buffer.
func (h *masked) sums() (lo, hi uint64) {
	return maphash.Bytes(h.seeds.lo, h.buf[:h.n]), maphash.Bytes(h.seeds.hi, h.buf[:h.n])
}

// room returns the next n bytes of the buffer, to be filled; n is at most
// hashChunk.
func (h *masked) room(n int) []byte {
	if h.n+n > len(h.buf) {
		lo, hi := h.sums()
		binary.NativeEndian.PutUint64(h.buf[:], lo)
		binary.NativeEndian.PutUint64(h.buf[8:], hi)
		h.n = 16
	}
	b := h.buf[h.n : h.n+n : h.n+n]
	h.n += n
	return b
}

// exact hashes the in-port and the TCIs of the key with attributes a. The kernel's
// key has TCI 0 for a frame without a tag and for one with a truncated tag alike.
func (h *masked) exact(a *keyAttrs) {
	h.value(a[KeyAttrInPort], 4)
	h.value(a[KeyAttrVLAN], 2)
	h.value(netlink.FindAttr(a[KeyAttrEncap], KeyAttrVLAN), 2)
}

// value hashes n bytes of b, zeros where b has none.
func (h *masked) value(b []byte, n int) {
	dst := h.room(n)
	clear(dst[copy(dst, b):])
}

// attrs hashes key under mask. a is nil, or what key has of its attributes.
func (h *masked) attrs(key []byte, a *keyAttrs, mask []byte, s space, depth int) {
	if depth > maxNesting {
		return
	}
	it := netlink.NewAttrs(mask)
	for it.Next() {
		t, m := it.Type(), it.Data()
		var k []byte
		if a != nil && int(t) < len(a) {
			k = a[t]
		} else {
			k = netlink.FindAttr(key, t)
		}
		head := h.room(4)
		binary.NativeEndian.PutUint16(head, t)
		binary.NativeEndian.PutUint16(head[2:], uint16(len(m)))
		if inner, is := s.nested(t); is {
			h.attrs(k, nil, m, inner, depth+1)
			continue
		}
		if s.isFlag(m) && k != nil {
			h.room(1)[0] = 1
		}
		for len(m) > 0 {
			n := min(len(m), hashChunk/2)
			h.bits(k, m[:n])
			k, m = k[min(n, len(k)):], m[n:]
		}
	}
}

// bits hashes a part of a mask and what it leaves of k.
func (h *masked) bits(k, mask []byte) {
	dst := h.room(2 * len(mask))
	left := dst[copy(dst, mask):]
	clear(left[copy(left, k):])
	for i, bits := range mask {
		left[i] &= bits
	}
}
