package loopguard

import (
	"bytes"
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// seen returns the result of Take.
func seen(g *Guard) (list []Sighting) {
	g.Take(func(s Sighting) { list = append(list, s) })
	return list
}

func decides(g *Guard, in odp.PortNo, packet []byte) bool {
	var v policy.Verdict
	return g.Decide(&dpif.Upcall{InPort: in, Packet: packet}, &v)
}

func TestProbe(t *testing.T) {
	g := New()
	g.NextRound()
	plain, tagged := g.Probe(7, 0), g.Probe(65534, 4094)
	if len(plain) != 60 || len(tagged) != 64 || binary.BigEndian.Uint16(plain[12:]) != EtherType ||
		string(plain[14:18]) != "dpLG" {
		t.Errorf("probes %x, %x", plain, tagged)
	}
	provider := slices.Concat(tagged[:12], []byte{0x88, 0xa8, 0, 9}, tagged[12:])
	for _, packet := range [][]byte{plain, tagged, plain, provider} {
		if !decides(g, 3, packet) {
			t.Errorf("%x is not recognised", packet)
		}
	}
	select {
	case <-g.Woken():
	default:
		t.Error("no wake-up")
	}
	if got, want := seen(g), []Sighting{{From: 7, In: 3}, {From: 65534, In: 3, VLAN: 4094}}; !slices.Equal(got, want) {
		t.Errorf("sightings %v, want %v", got, want)
	}
	if got := seen(g); len(got) != 0 {
		t.Errorf("sightings %v are left", got)
	}
}

// TestForeign: a probe with one bit changed, cut short, or from another process is not recognised.
func TestForeign(t *testing.T) {
	g, other := New(), New()
	g.NextRound()
	for _, vlan := range []uint16{0, 5} {
		p := g.Probe(7, vlan)
		for bit := range (len(p) - 2) * 8 { // the last two bytes are padding
			q := bytes.Clone(p)
			q[bit/8] ^= 1 << (bit % 8)
			tag := vlan != 0 && bit >= 14*8 && bit < 16*8 // bits of the tag, which may change on the way
			if got := decides(g, 1, q); got != tag {
				t.Fatalf("VLAN %d, bit %d changed: recognised %v", vlan, bit, got)
			}
		}
		for n := range len(p) - 2 {
			if decides(g, 1, p[:n]) {
				t.Fatalf("VLAN %d: the first %d bytes of a probe are recognised", vlan, n)
			}
		}
		if decides(other, 1, p) {
			t.Error("a probe of another process is recognised")
		}
	}
}

// TestStale: an old probe is dropped, but does not count as a loop.
func TestStale(t *testing.T) {
	g := New()
	g.NextRound()
	p := g.Probe(7, 0)
	for n := range 10 {
		if !decides(g, 1, p) || (len(seen(g)) == 1) != (n < freshRounds) {
			t.Errorf("after %d rounds", n)
		}
		g.NextRound()
	}
}

// TestExplained: tracing a packet does not count as a loop.
func TestExplained(t *testing.T) {
	g := New()
	v := policy.Verdict{Explain: func(string, string) {}}
	if !g.Decide(&dpif.Upcall{InPort: 1, Packet: g.Probe(7, 0)}, &v) || len(seen(g)) != 0 {
		t.Error("a trace counts as a sighting")
	}
}

// TestManySightings: sightings that do not fit are left out, without blocking.
func TestManySightings(t *testing.T) {
	g := New()
	for in := range odp.PortNo(3 * sightings) {
		decides(g, in, g.Probe(7, 0))
	}
	if n := len(seen(g)); n != sightings {
		t.Errorf("%d sightings, want %d", n, sightings)
	}
}

func TestAllocs(t *testing.T) {
	g := New()
	p, f := g.Probe(7, 5), make([]byte, 100)
	var v policy.Verdict
	u := &dpif.Upcall{InPort: 1}
	eth := make([]byte, 12)
	if n := testing.AllocsPerRun(100, func() {
		for _, u.Packet = range [][]byte{p, f} {
			v.Clear()
			g.Decide(u, &v)
			odp.AppendInPortMask(&v.Mask)
			g.Narrow(eth, &v)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// addrsMask returns the mask of the addresses.
func addrsMask(v *policy.Verdict) []byte {
	return netlink.FindAttr(v.Mask.Bytes(), odp.KeyAttrEthernet)
}

// TestNarrow: no flow matches a probe, flows that do not overlap still do not, and a mask that
// excludes probes already is not changed.
func TestNarrow(t *testing.T) {
	g := New()
	probe := slices.Concat(g.src[:], Destination[:])
	random := rand.New(rand.NewPCG(1, 2))
	masks := [][]byte{nil, make([]byte, 12), bytes.Repeat([]byte{0xff}, 12),
		{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0}, {0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xf0}}
	for range 3000 {
		mask := masks[random.IntN(len(masks))]
		var keys, narrowed [][]byte
		for range 2 {
			eth := bytes.Clone(probe)
			for range random.IntN(3) {
				eth[random.IntN(12)] ^= 1 << random.IntN(8)
			}
			var v policy.Verdict
			odp.AppendInPortMask(&v.Mask)
			if mask != nil {
				v.Mask.Attr(odp.KeyAttrEthernet, mask)
			}
			before := bytes.Clone(v.Mask.Bytes())
			ok := g.Narrow(eth, &v)
			if ok == bytes.Equal(eth, probe) {
				t.Fatalf("%x under %x: a flow: %v", eth, mask, ok)
			}
			m := addrsMask(&v)
			if len(m) != 12 || covers(eth, m, probe) != bytes.Equal(eth, probe) {
				t.Fatalf("%x under %x: mask %x matches a probe", eth, mask, m)
			}
			if mask != nil && !covers(eth, mask, probe) && !bytes.Equal(before, v.Mask.Bytes()) {
				t.Fatalf("%x under %x: mask %x, which has more bits than needed", eth, mask, m)
			}
			keys, narrowed = append(keys, eth), append(narrowed, m)
		}
		if covers(keys[0], narrowed[0], keys[1]) && !bytes.Equal(narrowed[0], narrowed[1]) {
			t.Fatalf("%x/%x overlaps %x/%x", keys[0], narrowed[0], keys[1], narrowed[1])
		}
	}
}

// covers reports whether the flow of a packet with the mask matches another packet.
func covers(eth, mask, other []byte) bool {
	for i, bits := range mask {
		if (eth[i]^other[i])&bits != 0 {
			return false
		}
	}
	return true
}
