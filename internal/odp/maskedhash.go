package odp

import (
	"encoding/binary"
	"hash/maphash"

	"dpifd/internal/netlink"
)

// MaskedHasher hashes the match of flows. Its seed is random, so that nobody can choose packets
// whose flows collide; two hashers give different hashes. It is immutable and safe for
// concurrent use.
type MaskedHasher struct{ seed maphash.Seed }

// NewMaskedHasher returns a hasher with a fresh seed. The zero MaskedHasher is not
// usable.
func NewMaskedHasher() *MaskedHasher { return &MaskedHasher{maphash.MakeSeed()} }

// HashMasked returns a hash of the flow with this key and mask, both lists of OVS_KEY_ATTR_*
// attributes. All keys that the flow covers have the same hash: it depends on the mask, on the
// masked bits of the key, and on the in-port and the TCIs of both VLAN tags, which the kernel
// always matches exactly. Attributes that are only in the mask count as zero in the key. In a
// malformed list the attributes before the fault count. It does not allocate.
func (u *MaskedHasher) HashMasked(key, mask []byte) uint64 {
	var a netlink.AttrTable
	_ = a.Scan(key) // the attributes before a fault count
	return u.HashTable(&a, mask)
}

// HashTable is HashMasked for a key with a table.
func (u *MaskedHasher) HashTable(key *netlink.AttrTable, mask []byte) uint64 {
	h := masked{seed: u.seed}
	h.exact(key)
	h.attrs(nil, key, mask, keySpace, 0)
	return h.sum()
}

// HashL2 hashes the same as HashMasked, for the flow of an L2Key with a mask of in-port and
// addresses (MasksL2), at a sixth of the cost. The two give different hashes, so a flow must always
// be hashed by the same one: by HashL2 if L2Key.Of returns true.
func (u *MaskedHasher) HashL2(k *L2Key, mask []byte) uint64 {
	const odd = 1 // makes it differ from HashMasked, which hashes whole words
	m := (*[l2KeyLen]byte)(mask)
	var b [2*(inPortLen+ethLen) + odd]byte
	copy(b[:], k[4:ethAt]) // the kernel matches the in-port exactly
	low, high := ethAt+4, ethAt+4+8
	binary.NativeEndian.PutUint64(b[4:], binary.NativeEndian.Uint64(k[low:])&binary.NativeEndian.Uint64(m[low:]))
	binary.NativeEndian.PutUint32(b[12:], binary.NativeEndian.Uint32(k[high:])&binary.NativeEndian.Uint32(m[high:]))
	copy(b[16:], m[4:ethAt])
	copy(b[20:], m[low:])
	return maphash.Bytes(u.seed, b[:])
}

// masked feeds the hash through a buffer. When the buffer is full, it starts again with the
// hash of its content.
type masked struct {
	seed maphash.Seed
	n    int
	buf  [128]byte
}

// sum returns the hash of the buffer.
func (h *masked) sum() uint64 { return maphash.Bytes(h.seed, h.buf[:h.n]) }

// word hashes 8 bytes.
func (h *masked) word(w uint64) {
	if h.n > len(h.buf)-8 {
		h.fold()
	}
	binary.NativeEndian.PutUint64(h.buf[h.n:], w)
	h.n += 8
}

// fold replaces the buffer by its hash.
func (h *masked) fold() {
	binary.NativeEndian.PutUint64(h.buf[:], h.sum())
	h.n = 8
}

// exact hashes the in-port and the TCIs of the key a. The kernel's key has TCI 0
// for a frame without a tag and for one with a truncated tag alike.
func (h *masked) exact(a *netlink.AttrTable) {
	w := uint64(0)
	if port := a.Get(KeyAttrInPort); len(port) == 4 {
		w = uint64(binary.NativeEndian.Uint32(port))
	}
	if tci := a.Get(KeyAttrVLAN); len(tci) == 2 {
		w |= uint64(binary.NativeEndian.Uint16(tci)) << 32
	}
	if inner := a.Get(KeyAttrEncap); inner != nil {
		if tci := netlink.FindAttr(inner, KeyAttrVLAN); len(tci) == 2 {
			w |= uint64(binary.NativeEndian.Uint16(tci)) << 48
		}
	}
	h.word(w)
}

// attrs hashes a key under mask: that of the table a, or key if a is nil.
func (h *masked) attrs(key []byte, a *netlink.AttrTable, mask []byte, s space, depth int) {
	if depth > maxNesting {
		return
	}
	for len(mask) > 0 {
		t, m, rest := netlink.CutAttr(mask)
		if t == netlink.NoAttr {
			return
		}
		mask = rest
		var k []byte
		if a != nil {
			k = a.Get(t)
		} else {
			k = netlink.FindAttr(key, t)
		}
		head := uint64(t)<<32 | uint64(len(m))
		if inner, is := s.nested(t); is {
			h.word(head)
			h.attrs(k, nil, m, inner, depth+1)
			continue
		}
		if k != nil && s.isFlag(m) {
			head |= 1 << 16
		}
		h.word(head)
		h.bits(k, m)
	}
}

// bits hashes a mask and the masked bits of k; missing bytes of k count as zero.
func (h *masked) bits(k, mask []byte) {
	for len(mask) >= 4 && len(k) >= 4 {
		bits := binary.NativeEndian.Uint32(mask)
		h.word(uint64(binary.NativeEndian.Uint32(k)&bits)<<32 | uint64(bits))
		k, mask = k[4:], mask[4:]
	}
	for i, bits := range mask {
		kept := byte(0)
		if i < len(k) {
			kept = k[i] & bits
		}
		h.word(uint64(kept)<<8 | uint64(bits))
	}
}
