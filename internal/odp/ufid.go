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
	var h masked
	h.lo.SetSeed(u.lo)
	h.hi.SetSeed(u.hi)
	h.exact(key)
	h.attrs(key, mask, keySpace, 0)
	h.flush()
	var id [16]byte
	binary.NativeEndian.PutUint64(id[:], h.lo.Sum64())
	binary.NativeEndian.PutUint64(id[8:], h.hi.Sum64())
	return id
}

// masked feeds both hashes through one buffer.
type masked struct {
	lo, hi maphash.Hash
	n      int
	buf    [128]byte
}

func (h *masked) flush() {
	h.lo.Write(h.buf[:h.n])
	h.hi.Write(h.buf[:h.n])
	h.n = 0
}

func (h *masked) byte(b byte) {
	if h.n == len(h.buf) {
		h.flush()
	}
	h.buf[h.n] = b
	h.n++
}

func (h *masked) uint16(v uint16) {
	h.byte(byte(v))
	h.byte(byte(v >> 8))
}

// exact hashes the in-port and the TCIs of key. The kernel's key has TCI 0 for
// a frame without a tag and for one with a truncated tag alike.
func (h *masked) exact(key []byte) {
	h.value(find(key, KeyAttrInPort), 4)
	for range maxNesting {
		h.value(find(key, KeyAttrVLAN), 2)
		key = find(key, KeyAttrEncap)
	}
}

// value hashes n bytes of b, zeros where b has none.
func (h *masked) value(b []byte, n int) {
	for i := range n {
		h.byte(at(b, i))
	}
}

func (h *masked) attrs(key, mask []byte, s space, depth int) {
	if depth > maxNesting {
		return
	}
	it := netlink.NewAttrs(mask)
	for it.Next() {
		k, m := find(key, it.Type()), it.Data()
		h.uint16(it.Type())
		h.uint16(uint16(len(m)))
		if inner, is := s.nested(it.Type()); is {
			h.attrs(k, m, inner, depth+1)
			continue
		}
		if s.isFlag(m) && k != nil {
			h.byte(1)
		}
		for i, bits := range m {
			h.byte(bits)
			h.byte(at(k, i) & bits)
		}
	}
}
