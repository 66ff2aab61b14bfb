package odp

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"dpifd/internal/netlink"
)

func TestHashMaskedCovers(t *testing.T) {
	h := NewMaskedHasher()
	exactMACs := mask(ones, ones)
	base := frame{port: 4, src: macA, dst: macB, etherType: 0x0800}
	with := func(fn func(f *frame)) []byte {
		f := base
		fn(&f)
		return f.key()
	}
	tests := []struct {
		name string
		mask []byte
		key  []byte
		same bool
	}{
		{"equal", exactMACs, base.key(), true},
		{"mark", exactMACs, with(func(f *frame) { f.mark = 0xdeadbeef }), true},
		{"EtherType", exactMACs, with(func(f *frame) { f.etherType = 0x86dd }), true},
		{"802.2", exactMACs, with(func(f *frame) { f.etherType = 0 }), true},
		{"IPv4", exactMACs, with(func(f *frame) { f.l3 = []byte{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12} }), true},
		{"truncated tag", exactMACs, with(func(f *frame) { f.tags = []uint16{0} }), true},
		{"source", exactMACs, with(func(f *frame) { f.src[5]++ }), false},
		{"destination", exactMACs, with(func(f *frame) { f.dst[0] ^= 0x80 }), false},
		{"swapped", exactMACs, with(func(f *frame) { f.src, f.dst = f.dst, f.src }), false},
		{"in-port", exactMACs, with(func(f *frame) { f.port++ }), false},
		{"in-port that the mask lacks", nil, with(func(f *frame) { f.port += 256 }), false},
		{"tag", exactMACs, with(func(f *frame) { f.tags = []uint16{0x1001} }), false},
		{"bits outside", mask(groupBit, MAC{0xff}), with(func(f *frame) { f.src, f.dst[5], f.dst[1] = MAC{0xfe}, 0, 0xff }), true},
		{"bit inside", mask(groupBit, MAC{0xff}), with(func(f *frame) { f.src[0] |= 1 }), false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if same := h.HashMasked(base.key(), tt.mask) == h.HashMasked(tt.key, tt.mask); same != tt.same {
				t.Errorf("same %v, want %v", same, tt.same)
			}
		})
	}
	t.Run("inner tag", func(t *testing.T) {
		tagged := func(outer, inner uint16) uint64 {
			return h.HashMasked(with(func(f *frame) { f.tags = []uint16{outer, inner} }), exactMACs)
		}
		if tagged(0x1001, 0x1002) == tagged(0x1001, 0x1003) || tagged(0x1001, 0x1002) == tagged(0x1002, 0x1001) {
			t.Error("the inner TCI is not hashed")
		}
	})
	t.Run("behind the tag", func(t *testing.T) {
		m := mask(ones, ones, encap(func(e *netlink.Encoder) { AppendEthertype(e, 0xff00) }))
		tagged := func(typ uint16) uint64 {
			return h.HashMasked(with(func(f *frame) { f.tags, f.etherType = []uint16{0x1005}, typ }), m)
		}
		if tagged(0x0800) != tagged(0x0806) || tagged(0x0800) == tagged(0x86dd) {
			t.Error("the EtherType behind the tag is not hashed under its mask")
		}
	})
	t.Run("tunnel flag", func(t *testing.T) {
		flag := encode(tunnel(func(e *netlink.Encoder) { e.Flag(5) }))
		if h.HashMasked(flag, flag) == h.HashMasked(nil, flag) {
			t.Error("the presence of a flag is not hashed")
		}
	})
}

// TestHashMaskedBits flips each bit of both addresses under random masks: the hash must change
// exactly for bits in the mask.
func TestHashMaskedBits(t *testing.T) {
	h := NewMaskedHasher()
	random := rand.New(rand.NewPCG(1, 2))
	mac := func() MAC { return MACFromUint64(random.Uint64()) }
	seen := map[uint64]int{}
	const rounds = 50
	for round := range rounds {
		f := frame{port: PortNo(random.IntN(MaxPorts)), src: mac(), dst: mac(), etherType: 0x0800}
		src, dst := mac(), mac()
		m := mask(src, dst)
		want := h.HashMasked(f.key(), m)
		seen[want]++
		for bit := range 96 {
			g, set := f, false
			at := func(addr, bits *MAC, n int) {
				addr[n/8] ^= 1 << (n % 8)
				set = bits[n/8]&(1<<(n%8)) != 0
			}
			if bit < 48 {
				at(&g.src, &src, bit)
			} else {
				at(&g.dst, &dst, bit-48)
			}
			if changed := h.HashMasked(g.key(), m) != want; changed != set {
				t.Fatalf("round %d: bit %d is in the mask: %v; hash changed: %v", round, bit, set, changed)
			}
		}
	}
	if len(seen) != rounds {
		t.Errorf("%d of %d flows have different hashes", len(seen), rounds)
	}
}

func TestHashMaskedDependsOnMaskAndSeeds(t *testing.T) {
	key := frame{port: 4, src: MAC{}, dst: MAC{}}.key()
	a, b := NewMaskedHasher(), NewMaskedHasher()
	if a.HashMasked(key, mask(ones, ones)) == a.HashMasked(key, mask(ones, MAC{0xff})) {
		t.Error("flows that differ in the mask have the same hash")
	}
	if a.HashMasked(key, mask(ones, ones)) == b.HashMasked(key, mask(ones, ones)) {
		t.Error("two hashers agree")
	}
}

// TestHashMaskedLong uses a key longer than the hasher's buffer.
func TestHashMaskedLong(t *testing.T) {
	h := NewMaskedHasher()
	long := func(last byte) []byte {
		opts := make([]byte, 248)
		opts[247] = last
		return encode(tunnel(func(e *netlink.Encoder) { e.Attr(8, opts) })) // OVS_TUNNEL_KEY_ATTR_GENEVE_OPTS
	}
	m := encode(tunnel(func(e *netlink.Encoder) { e.Attr(8, bytes.Repeat([]byte{0x0f}, 248)) }))
	if h.HashMasked(long(1), m) != h.HashMasked(long(0x11), m) || h.HashMasked(long(1), m) == h.HashMasked(long(2), m) {
		t.Error("the last byte is not hashed under its mask")
	}
}

func TestHashMaskedAllocs(t *testing.T) {
	h := NewMaskedHasher()
	key, m := frame{port: 4, src: macA, dst: macB, tags: []uint16{0x1001}}.key(), mask(ones, ones)
	if n := testing.AllocsPerRun(100, func() { h.HashMasked(key, m) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkHashMasked(b *testing.B) {
	h := NewMaskedHasher()
	key, m := frame{port: 4, src: macA, dst: macB, etherType: 0x0800}.key(), mask(ones, ones)
	b.ReportAllocs()
	for b.Loop() {
		h.HashMasked(key, m)
	}
}

func BenchmarkParseKey(b *testing.B) {
	key := frame{port: 4, src: macA, dst: macB, etherType: 0x0800}.key()
	var k Key
	b.ReportAllocs()
	for b.Loop() {
		if err := ParseKey(key, &k); err != nil {
			b.Fatal(err)
		}
	}
}

// TestHashL2 checks that HashL2 distinguishes the same flows as HashMasked, by different hashes.
func TestHashL2(t *testing.T) {
	h := NewMaskedHasher()
	masks := [][]byte{mask(ones, ones), mask(MAC{}, ones), mask(ones, MAC{}), mask(groupBit, MAC{0xff}),
		mask(MAC{}, MAC{5: 1})}
	r := rand.New(rand.NewPCG(1, 2))
	few := func() MAC { return MAC{byte(r.IntN(2)), 0, 0, 0, 0, byte(r.IntN(2))} }
	byL2, byMasked := map[uint64]uint64{}, map[uint64]uint64{}
	for range 4000 {
		m := masks[r.IntN(len(masks))]
		f := frame{port: PortNo(r.IntN(2)), src: few(), dst: few(), etherType: uint16(0x0800 + r.IntN(2))}
		key := f.key()
		var k L2Key
		if !MasksL2(m) || !k.Of(table(key), m) {
			t.Fatalf("mask % x is not one of in-port and addresses", m)
		}
		l2, masked := h.HashL2(&k, m), h.HashMasked(key, m)
		if was, ok := byMasked[masked]; ok && was != l2 {
			t.Fatalf("one flow has the hashes %x and %x", was, l2)
		}
		if was, ok := byL2[l2]; ok && was != masked {
			t.Fatalf("two flows have the hash %x", l2)
		}
		byMasked[masked], byL2[l2] = l2, masked
	}
	for l2 := range byL2 {
		if _, ok := byMasked[l2]; ok {
			t.Errorf("both have the hash %x", l2)
		}
	}
	if len(byL2) < 50 {
		t.Errorf("only %d flows", len(byL2))
	}
	k := &L2Key{}
	if h.HashL2(k, masks[0]) == NewMaskedHasher().HashL2(k, masks[0]) {
		t.Error("two hashers have the same seed")
	}
}
