package odp

import (
	"testing"

	"dpifd/internal/netlink"
)

// mustKey parses a key and its mask in ODP text.
func mustKey(t testing.TB, text string) (key, mask []byte) {
	t.Helper()
	key, mask, err := Text{}.ParseKey(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return key, mask
}

func packed(t testing.TB, text string) (k, m Packed) {
	t.Helper()
	key, mask := mustKey(t, text)
	if err := k.Pack(key); err != nil {
		t.Fatal(err)
	}
	if other, err := m.PackMask(mask); err != nil || other != 0 {
		t.Fatal(other, err)
	}
	for i := range k {
		k[i] &= m[i]
	}
	return k, m
}

func TestPackedFlows(t *testing.T) {
	for _, tt := range []struct {
		a, b            string
		overlap, within bool
	}{
		{"in_port(1)", "in_port(1)", true, true},
		{"in_port(1)", "in_port(2)", false, false},
		{"in_port(1)", "eth()", true, true},
		{"eth()", "in_port(1)", true, false},
		{"in_port(1),eth(src=02:00:00:00:00:01)", "in_port(1),eth(dst=02:00:00:00:00:01)", true, false},
		{"eth_type(0x0800),ipv4(dst=10.1.0.0/255.255.0.0)", "eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0)", true, true},
		{"eth_type(0x0800),ipv4(dst=11.1.0.0/255.255.0.0)", "eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0)", false, false},
		// The tag is matched although it is not named.
		{"in_port(1)", "in_port(1),eth_type(0x8100),vlan(vid=5,pcp=0),encap()", false, false},
		{"eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800))", "eth_type(0x8100),vlan(vid=5),encap()", true, true},
		{"eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800))", "eth_type(0x88a8),vlan(vid=5),encap()", false, false},
		{"eth_type(0x8100),vlan(vid=5),encap(eth_type(0x8100),vlan(vid=6),encap())", "eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800))", false, false},
		// The kernel matches EtherTypes exactly, whatever their mask.
		{"eth_type(0x0800/0xff00)", "eth_type(0x0806)", false, false},
	} {
		ka, ma := packed(t, tt.a)
		kb, mb := packed(t, tt.b)
		if got := Overlap(&ka, &ma, &kb, &mb); got != tt.overlap || got != Overlap(&kb, &mb, &ka, &ma) {
			t.Errorf("%s and %s overlap: %v", tt.a, tt.b, got)
		}
		if got := Within(&ka, &ma, &kb, &mb); got != tt.within {
			t.Errorf("%s lies within %s: %v", tt.a, tt.b, got)
		}
	}
}

func TestNarrow(t *testing.T) {
	const ip = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
		"ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=5,dst=81),tcp_flags(syn)"
	for _, tt := range []struct{ k, from, static, want string }{
		{ip, "in_port(1)", "in_port(2)", "in_port(1),eth()"},
		{ip, "in_port(1)", "eth_type(0x0806),arp()", "in_port(1),eth(),eth_type(0x0800)"},
		{ip, "in_port(1)", "in_port(1),eth_type(0x0800),ipv4(dst=10.1.0.0/255.255.0.0,proto=6),tcp(dst=80)",
			"in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.2/255.255.0.0,proto=6)"},
		{ip, "in_port(1)", "eth_type(0x0800),ipv4(proto=6),tcp(dst=80)", "in_port(1),eth(),eth_type(0x0800),ipv4(proto=6,frag=no),tcp(dst=81)"},
		{ip, "in_port(1),eth(dst=02:00:00:00:00:02)", "eth(dst=02:00:00:00:00:03),eth_type(0x0800),ipv4(proto=6)", "in_port(1),eth(dst=02:00:00:00:00:02)"},
		{"in_port(1),eth(),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=later)", "in_port(1)",
			"eth_type(0x0800),ipv4(proto=6),tcp(dst=80)", "in_port(1),eth(),eth_type(0x0800),ipv4(proto=6,frag=later)"},
		{"in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=1),encap(eth_type(0x86dd),ipv6(proto=17,frag=no),udp(src=1,dst=2))", "in_port(1)",
			"eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800))",
			"in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=1),encap(eth_type(0x86dd))"},
		{"in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=1),encap(eth_type(0x86dd))", "in_port(1)", "eth_type(0x88a8),vlan(vid=5),encap()",
			"eth(),eth_type(0x8100),vlan(vid=5,pcp=1),encap(key3(/ff ff ff ff))"},
	} {
		key, _ := mustKey(t, tt.k)
		var k Packed
		if err := k.Pack(key); err != nil {
			t.Fatal(err)
		}
		_, m := packed(t, tt.from)
		ks, ms := packed(t, tt.static)
		m.Narrow(&k, &ks, &ms)
		var e netlink.Encoder
		m.AppendMask(&e, &k)
		if got := string(Text{}.AppendKey(nil, key, e.Bytes())); got != tt.want {
			t.Errorf("%s narrowed by %s:\n got %s\nwant %s", tt.from, tt.static, got, tt.want)
		}
	}
}

// FuzzPack: no input crashes; a packed key matches itself; and a mask that is written and packed
// again is the same.
func FuzzPack(f *testing.F) {
	for _, text := range []string{
		"in_port(1),eth(src=02:00:00:00:00:01),eth_type(0x0800),ipv4(proto=6),tcp(dst=80)",
		"in_port(1),eth(),eth_type(0x8100),vlan(vid=5),encap(eth_type(0x88a8),vlan(vid=6),encap(eth_type(0x0806),arp(op=1)))",
		"recirc_id(0x1),ct_state(+trk),ct_zone(0x2),ct_mark(0x3),ct_label(0x4),in_port(2),eth(),eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),nd(target=fe80::1)",
	} {
		key, mask := mustKey(f, text)
		f.Add(key, mask)
	}
	f.Add([]byte{4, 0, 1, 0}, []byte{8, 0, 1, 0, 4, 0, 1, 0})
	f.Fuzz(func(t *testing.T, key, mask []byte) {
		var k, m Packed
		err := k.Pack(key)
		other, maskErr := m.PackMask(mask)
		if err != nil || maskErr != nil {
			return
		}
		if !k.Matches(&k, &m) || !Overlap(&k, &m, &k, &m) || !Within(&k, &m, &k, &m) {
			t.Error("a key does not match its own flow")
		}
		if other != 0 || CheckMatch(&k, &m) != nil {
			return
		}
		var e netlink.Encoder
		m.AppendMask(&e, &k)
		var again Packed
		if other, err := again.PackMask(e.Bytes()); other != 0 || err != nil {
			t.Fatalf("the written mask is rejected: %d, %v", other, err)
		}
		exactTags := string(m[offTCI:offTCI+2])+string(m[offInnerTCI:offInnerTCI+2]) == "\xff\xff\xff\xff"
		if k[offTCI]&0x10 == 0 && exactTags && again != m {
			t.Errorf("mask % x\nread again % x", m, again)
		}
	})
}
