package snoop

import (
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"dpifd/internal/odp"
)

// randomKey is the key of a packet that is multicast, or nearly so.
func randomKey(r *rand.Rand) (k odp.Packed) {
	pick := func(list ...[]byte) []byte { return list[r.IntN(len(list))] }
	copy(k.Part(odp.KeyAttrEthernet)[dstMACAt:], pick([]byte{0x33, 0x33}, []byte{0x33, 0x33},
		[]byte{1, 0, 0x5e, 1}, []byte{1, 0, 0x5e, 1},
		[]byte{1, 0, 0x5e, 0x81}, []byte{1, 0, 0xc}, []byte{1, 0x80}, []byte{0xff, 0xff}, []byte{0x33, 0x34}))
	typ := []uint16{typeIPv4, typeIPv4, typeIPv6, typeIPv6, 0x88b5, 0}[r.IntN(6)]
	binary.BigEndian.PutUint16(k.Part(odp.KeyAttrEthertype), typ)
	switch typ {
	case typeIPv4:
		copy(k.Part(odp.KeyAttrIPv4)[ipv4DstAt:], pick([]byte{239, 1, 2, 3}, []byte{224, 0, 0, 5}, []byte{224, 0, 1, 5},
			[]byte{10, 0, 0, 1}))
		k.Part(odp.KeyAttrIPv4)[ipv4ProtoAt] = pick([]byte{protoIGMP}, []byte{17})[0]
	case typeIPv6:
		b := k.Part(odp.KeyAttrIPv6)
		copy(b[ipv6DstAt:], pick([]byte{0xff, 5, 15: 5}, []byte{0xff, 2, 15: 5}, []byte{0xff, 0x12}, []byte{0x20, 1}))
		b[ipv6ProtoAt], b[ipv6Frag] = pick([]byte{protoICMPv6}, []byte{17})[0],
			pick([]byte{0}, []byte{1}, []byte{fragLater})[0]
		if b[ipv6ProtoAt] == protoICMPv6 && b[ipv6Frag] != fragLater {
			k.Part(odp.KeyAttrICMPv6)[0] = pick([]byte{mldQuery}, []byte{mldReport2}, []byte{128}, []byte{135})[0]
		}
	}
	return k
}

// TestClassify: packets that agree in the bits read for one have its class, and the number of masks
// is bounded for any traffic.
func TestClassify(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 4))
	masks, classes := map[odp.Packed]bool{}, map[Class]int{}
	for range 50_000 {
		k, mix := randomKey(r), randomKey(r)
		var m, n odp.Packed
		class, group := Classify(&k, &m)
		for i := range mix {
			mix[i] = mix[i]&^m[i] | k[i]&m[i]
		}
		if c, g := Classify(&mix, &n); c != class || g != group || n != m {
			t.Fatalf("class %d group %v mask %x, then %d %v %x", class, group, m, c, g, n)
		}
		if (class == ToGroup) != group.IsValid() || group.IsValid() && (!group.IsMulticast() || IsLinkScope(group)) {
			t.Fatalf("class %d of group %v", class, group)
		}
		masks[m] = true
		classes[class]++
	}
	if len(masks) > 12 || len(classes) != 3 {
		t.Errorf("%d masks, classes %v; want at most 12 masks, and each class", len(masks), classes)
	}
	t.Logf("%d masks", len(masks))
}

// TestConcurrent runs look-ups while members join and leave.
func TestConcurrent(t *testing.T) {
	table := NewTable(100)
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			for range 3000 {
				ports, known := table.Members(0, addr1)
				if known == (len(ports) == 0) {
					t.Errorf("known %v with members %v", known, ports)
					return
				}
				table.Routers(0, false)
			}
		})
	}
	for i := range 1000 {
		port := odp.PortNo(i % 7)
		m := Message{Kind: Report, single: addr1, Source: addr("192.0.2.1")}
		table.Take(0, port, &m, int64(i))
		m = Message{Kind: Query, Source: addr("192.0.2.1")}
		table.Take(0, port, &m, int64(i))
		table.Retain(func(no odp.PortNo) bool { return no != port })
	}
	group.Wait()
}
