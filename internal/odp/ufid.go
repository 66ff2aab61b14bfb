package odp

import (
	"encoding/binary"
	"hash/maphash"
	"math/rand/v2"

	"dpifd/internal/netlink"
)

// UFIDHasher derives a flow's identifier (UFID, 16 bytes as MAX_UFID_LENGTH of
// net/openvswitch/flow.h, Linux 6.1) from what the flow matches: 64 bits are a
// hash, by which two of 200,000 flows are the same once in a thousand million
// tables (the later one is not installed then, and its packets come up), and 64
// bits are the hasher's own. Its seed is random, so that nobody can choose packets
// whose flows collide; two hashers give different UFIDs. It is immutable: several
// goroutines may use it at once.
type UFIDHasher struct {
	seed maphash.Seed
	own  uint64
}

// NewUFIDHasher returns a hasher with a fresh seed. The zero UFIDHasher is not
// usable.
func NewUFIDHasher() *UFIDHasher {
	return &UFIDHasher{seed: maphash.MakeSeed(), own: rand.Uint64()}
}

// HashMasked returns the UFID of the flow with this key and mask, both lists of
// OVS_KEY_ATTR_* attributes. Keys that the flow covers have the same UFID:
// it depends on the mask, on the bits of key that are set in the mask, and on
// what the kernel matches exactly in any case, the in-port and the TCI of both
// VLAN tags. Attributes that only the mask has count as zero in the key. Of a
// malformed list it reads what precedes the fault. It does not allocate.
func (u *UFIDHasher) HashMasked(key, mask []byte) [16]byte {
	var a netlink.AttrTable
	_ = a.Scan(key) // what precedes a fault counts
	return u.HashTable(&a, mask)
}

// HashTable is HashMasked for a key of which there is a table.
func (u *UFIDHasher) HashTable(key *netlink.AttrTable, mask []byte) [16]byte {
	h := masked{seed: u.seed}
	h.exact(key)
	h.attrs(nil, key, mask, keySpace, 0)
	var id [16]byte
	binary.NativeEndian.PutUint64(id[:], h.sum())
	binary.NativeEndian.PutUint64(id[8:], u.own)
	return id
}

// masked feeds the hash through a buffer. What does not fit is replaced by its
// hash, with which the buffer begins then.
type masked struct {
	seed maphash.Seed
	n    int
	buf  [128]byte
}

// hashChunk is how much there is room for in any case.
const hashChunk = 96

// sum returns the hash of what is in the buffer.
func (h *masked) sum() uint64 { return maphash.Bytes(h.seed, h.buf[:h.n]) }

// room returns the next n bytes of the buffer, to be filled; n is at most
// hashChunk.
func (h *masked) room(n int) []byte {
	if h.n+n > len(h.buf) {
		binary.NativeEndian.PutUint64(h.buf[:], h.sum())
		h.n = 8
	}
	b := h.buf[h.n : h.n+n : h.n+n]
	h.n += n
	return b
}

// exact hashes the in-port and the TCIs of the key a. The kernel's key has TCI 0
// for a frame without a tag and for one with a truncated tag alike.
func (h *masked) exact(a *netlink.AttrTable) {
	h.value(a.Get(KeyAttrInPort), 4)
	h.value(a.Get(KeyAttrVLAN), 2)
	h.value(netlink.FindAttr(a.Get(KeyAttrEncap), KeyAttrVLAN), 2)
}

// value hashes n bytes of b, zeros where b has none.
func (h *masked) value(b []byte, n int) {
	dst := h.room(n)
	clear(dst[copy(dst, b):])
}

// attrs hashes a key under mask: that of the table a, or key if a is nil.
func (h *masked) attrs(key []byte, a *netlink.AttrTable, mask []byte, s space, depth int) {
	if depth > maxNesting {
		return
	}
	it := netlink.NewAttrs(mask)
	for it.Next() {
		t, m := it.Type(), it.Data()
		var k []byte
		if a != nil {
			k = a.Get(t)
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
	if len(k) < len(mask) {
		clear(left[copy(left, k):])
		k = left
	}
	for len(mask) >= 8 {
		binary.NativeEndian.PutUint64(left, binary.NativeEndian.Uint64(k)&binary.NativeEndian.Uint64(mask))
		left, k, mask = left[8:], k[8:], mask[8:]
	}
	for i, bits := range mask {
		left[i] = k[i] & bits
	}
}
