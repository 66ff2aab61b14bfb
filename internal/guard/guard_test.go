package guard

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"

	"dpifd/internal/odp"
)

// key packs the key of a packet given as text.
func key(t testing.TB, text string) *odp.Packed {
	t.Helper()
	b, _, err := odp.Text{}.ParseKey(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	var k odp.Packed
	if err := k.Pack(b); err != nil {
		t.Fatal(err)
	}
	return &k
}

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

var (
	own   = odp.MAC{2, 0, 0, 0, 0, 1}
	other = odp.MAC{2, 0, 0, 0, 1, 0x20}

	all = Config{
		MACs:         []odp.MAC{own, other},
		Addresses:    prefixes("192.0.2.10/32", "198.51.100.0/25", "2001:db8::10/128", "fe80::10/128"),
		NoDHCPServer: true, NoRouterAdvertisements: true,
	}
)

const (
	eth  = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:99)"
	arp  = eth + ",eth_type(0x0806),arp"
	ip   = eth + ",eth_type(0x0800),ipv4"
	ip6  = eth + ",eth_type(0x86dd),ipv6"
	from = "(src=192.0.2.10,dst=192.0.2.1,tos=0,ttl=64,"
	ll   = "(src=fe80::10,dst=ff02::1,label=0,tclass=0,hlimit=255,"
	none = "(src=::,dst=ff02::1,label=0,tclass=0,hlimit=255,"
	nd   = "proto=58,frag=no),icmpv6"
)

func TestCheck(t *testing.T) {
	for _, tt := range []struct{ name, key, want string }{
		{"own MAC", eth + ",eth_type(0x88b5)", ""},
		{"another MAC", "in_port(1),eth(src=02:00:00:00:00:02,dst=ff:ff:ff:ff:ff:ff),eth_type(0x88b5)", SourceMAC},
		{"802.2", eth, ""},
		{"third tag", eth + ",eth_type(0x88a8),vlan(vid=0,pcp=0),encap(eth_type(0x8100),vlan(vid=0,pcp=0),encap(eth_type(0x8100)))", Tags},
		{"own behind two tags", eth + ",eth_type(0x88a8),vlan(vid=0,pcp=0),encap(eth_type(0x8100),vlan(vid=0,pcp=0),encap(eth_type(0x0800),ipv4" + from + "proto=1,frag=no),icmp(type=8,code=0)))", ""},
		{"other behind a tag", eth + ",eth_type(0x8100),vlan(vid=0,pcp=0),encap(eth_type(0x0800),ipv4(src=192.0.2.11,dst=192.0.2.1,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0))", SourceAddress},

		{"ARP", arp + "(sip=192.0.2.10,tip=192.0.2.1,op=1,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)", ""},
		{"ARP sender", arp + "(sip=192.0.2.1,tip=192.0.2.10,op=2,sha=02:00:00:00:00:01,tha=02:00:00:00:00:99)", ARPSender},
		{"ARP hardware", arp + "(sip=192.0.2.10,tip=192.0.2.1,op=2,sha=02:00:00:00:00:99,tha=00:00:00:00:00:00)", ARPSender},
		{"ARP probe", arp + "(sip=0.0.0.0,tip=192.0.2.10,op=1,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)", ""},
		{"ARP probe of another", arp + "(sip=0.0.0.0,tip=192.0.2.1,op=1,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)", ARPSender},
		{"ARP for nothing", arp + "(sip=0.0.0.0,tip=0.0.0.0,op=0,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)", ARPSender},
		{"RARP", eth + ",eth_type(0x8035),arp(sip=0.0.0.0,tip=0.0.0.0,op=3,sha=02:00:00:00:00:01,tha=02:00:00:00:00:01)", ""},
		{"RARP of another", eth + ",eth_type(0x8035),arp(sip=0.0.0.0,tip=0.0.0.0,op=3,sha=02:00:00:00:00:03,tha=02:00:00:00:00:01)", ARPSender},

		{"IPv4", ip + from + "proto=6,frag=no),tcp(src=1,dst=2),tcp_flags(syn)", ""},
		{"IPv4 within a prefix", ip + "(src=198.51.100.127,dst=192.0.2.1,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)", ""},
		{"IPv4 beside a prefix", ip + "(src=198.51.100.128,dst=192.0.2.1,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)", SourceAddress},
		{"IPv4 later fragment of another", ip + "(src=192.0.2.11,dst=192.0.2.1,proto=17,tos=0,ttl=64,frag=later)", SourceAddress},
		{"IPv4 later fragment", ip + from + "proto=17,frag=later)", ""},
		{"DHCP request", ip + "(src=0.0.0.0,dst=255.255.255.255,proto=17,tos=0,ttl=64,frag=no),udp(src=68,dst=67)", ""},
		{"DHCP renewal", ip + from + "proto=17,frag=no),udp(src=68,dst=67)", ""},
		{"DHCP request in fragments", ip + "(src=0.0.0.0,dst=255.255.255.255,proto=17,tos=0,ttl=64,frag=first),udp(src=68,dst=67)", SourceAddress},
		{"no address, other port", ip + "(src=0.0.0.0,dst=255.255.255.255,proto=17,tos=0,ttl=64,frag=no),udp(src=68,dst=66)", SourceAddress},
		{"no address, TCP", ip + "(src=0.0.0.0,dst=192.0.2.1,proto=6,tos=0,ttl=64,frag=no),tcp(src=1,dst=2),tcp_flags(syn)", SourceAddress},
		{"no address, IGMP", ip + "(src=0.0.0.0,dst=224.0.0.22,proto=2,tos=0,ttl=1,frag=no)", ""},
		{"DHCP offer", ip + from + "proto=17,frag=no),udp(src=67,dst=68)", DHCPServer},
		{"DHCP offer, first fragment", ip + from + "proto=17,frag=first),udp(src=67,dst=68)", DHCPServer},
		{"UDP beside", ip + from + "proto=17,frag=no),udp(src=67,dst=69)", ""},
		{"TCP to 68", ip + from + "proto=6,frag=no),tcp(src=67,dst=68),tcp_flags(syn)", ""},

		{"IPv6", ip6 + "(src=2001:db8::10,dst=2001:db8::1,label=0,proto=6,tclass=0,hlimit=64,frag=no),tcp(src=1,dst=2),tcp_flags(syn)", ""},
		{"IPv6 of another", ip6 + "(src=2001:db8::11,dst=2001:db8::1,label=0,proto=6,tclass=0,hlimit=64,frag=no),tcp(src=1,dst=2),tcp_flags(syn)", SourceAddress},
		{"IPv6 later fragment", ip6 + "(src=2001:db8::10,dst=2001:db8::1,label=0,proto=44,tclass=0,hlimit=64,frag=later)", ""},
		{"IPv6 later fragment without address", ip6 + none + "proto=44,frag=later)", SourceAddress},
		{"IPv6 first fragment without end of headers", ip6 + ll + "proto=59,frag=first)", Fragments},
		{"IPv6 first fragment without ICMPv6 header", ip6 + ll + "proto=58,frag=first),icmpv6(type=0,code=0)", Fragments},
		{"IPv6 first fragment without UDP header", ip6 + ll + "proto=17,frag=first),udp(src=0,dst=0)", Fragments},
		{"UDP to port 0", ip6 + ll + "proto=17,frag=no),udp(src=0,dst=0)", ""},
		{"no next header", ip6 + ll + "proto=59,frag=no)", ""},
		{"DHCPv6 reply", ip6 + ll + "proto=17,frag=no),udp(src=547,dst=546)", DHCPServer},
		{"DHCPv6 solicit", ip6 + ll + "proto=17,frag=no),udp(src=546,dst=547)", ""},
		{"router advertisement", ip6 + ll + nd + "(type=134,code=0)", RouterAdvertisement},
		{"router advertisement in fragments", ip6 + ll + "proto=58,frag=first),icmpv6(type=134,code=0)", RouterAdvertisement},
		{"redirect", ip6 + ll + nd + "(type=137,code=0)", RouterAdvertisement},
		{"router solicitation", ip6 + none + nd + "(type=133,code=0)", ""},
		{"MLD report", ip6 + none + nd + "(type=143,code=0)", ""},
		{"echo", ip6 + ll + nd + "(type=128,code=0)", ""},
		{"echo without address", ip6 + none + nd + "(type=128,code=0)", SourceAddress},
		{"echo in fragments", ip6 + ll + "proto=58,frag=first),icmpv6(type=128,code=0)", ""},
		{"solicitation", ip6 + ll + nd + "(type=135,code=0),nd(target=2001:db8::1,sll=02:00:00:00:00:01,tll=00:00:00:00:00:00)", ""},
		{"solicitation for its address", ip6 + none + nd + "(type=135,code=0),nd(target=2001:db8::10,sll=00:00:00:00:00:00,tll=00:00:00:00:00:00)", ""},
		{"solicitation for another's", ip6 + none + nd + "(type=135,code=0),nd(target=2001:db8::1,sll=00:00:00:00:00:00,tll=00:00:00:00:00:00)", NDTarget},
		{"solicitation with another MAC", ip6 + ll + nd + "(type=135,code=0),nd(target=2001:db8::1,sll=02:00:00:00:00:03,tll=00:00:00:00:00:00)", NDLinkLayer},
		{"advertisement", ip6 + ll + nd + "(type=136,code=0),nd(target=2001:db8::10,sll=00:00:00:00:00:00,tll=02:00:00:00:01:20)", ""},
		{"advertisement of another", ip6 + ll + nd + "(type=136,code=0),nd(target=2001:db8::1,sll=00:00:00:00:00:00,tll=02:00:00:00:00:01)", NDTarget},
		{"advertisement with another MAC", ip6 + ll + nd + "(type=136,code=0),nd(target=2001:db8::10,sll=00:00:00:00:00:00,tll=02:00:00:00:00:03)", NDLinkLayer},
		{"advertisement without target", ip6 + ll + nd + "(type=136,code=0),nd(target=::,sll=00:00:00:00:00:00,tll=00:00:00:00:00:00)", NDTarget},
		{"advertisement in fragments", ip6 + ll + "proto=58,frag=first),icmpv6(type=136,code=0),nd(target=2001:db8::10,sll=00:00:00:00:00:00,tll=00:00:00:00:00:00)", Fragments},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m odp.Packed
			if got := New(&all).Check(key(t, tt.key), &m); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

// TestCheckParts: what a setting does not name is neither restricted nor read.
func TestCheckParts(t *testing.T) {
	if New(&Config{}) != nil {
		t.Error("no rules are rules")
	}
	spoof := ip + "(src=203.0.113.1,dst=192.0.2.1,proto=17,tos=0,ttl=64,frag=no),udp(src=67,dst=68)"
	advert := ip6 + "(src=fe80::99,dst=ff02::1,label=0,tclass=0,hlimit=255," + nd + "(type=134,code=0)"
	for _, tt := range []struct {
		name      string
		cfg       Config
		key, want string
		unread    uint16 // attribute
	}{
		{"MACs", Config{MACs: all.MACs}, spoof, "", odp.KeyAttrIPv4},
		{"addresses", Config{Addresses: all.Addresses}, spoof, SourceAddress, odp.KeyAttrEthernet},
		{"one family", Config{Addresses: prefixes("2001:db8::10/128")}, spoof, SourceAddress, odp.KeyAttrIPv4},
		{"all of a family", Config{Addresses: prefixes("0.0.0.0/0")}, spoof, "", odp.KeyAttrIPv4},
		{"DHCP", Config{NoDHCPServer: true}, spoof, DHCPServer, odp.KeyAttrEthernet},
		{"no DHCP", Config{NoRouterAdvertisements: true}, spoof, "", odp.KeyAttrIPv4},
		{"advertisements", Config{NoRouterAdvertisements: true}, advert, RouterAdvertisement, odp.KeyAttrEthernet},
		{"no advertisements", Config{NoDHCPServer: true}, advert, "", odp.KeyAttrICMPv6},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m odp.Packed
			if got := New(&tt.cfg).Check(key(t, tt.key), &m); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
			for _, b := range m.Part(tt.unread) {
				if b != 0 {
					t.Fatalf("read %x of attribute %d", m.Part(tt.unread), tt.unread)
				}
			}
		})
	}
}

// randomKey is a key with values near the allowed ones, and with others.
func randomKey(r *rand.Rand) *odp.Packed {
	var k odp.Packed
	fill := func(attr uint16, off int, known ...[]byte) {
		value := known[r.IntN(len(known))]
		part := k.Part(attr)[off : off+len(value)]
		copy(part, value)
		if r.IntN(2) == 0 {
			for i := r.IntN(len(part)); i < len(part); i++ {
				part[i] = byte(r.Uint32())
			}
		}
	}
	addr := func(s string) []byte { return netip.MustParseAddr(s).AsSlice() }
	v4 := [][]byte{addr("192.0.2.10"), addr("198.51.100.3"), addr("0.0.0.0")}
	v6 := [][]byte{addr("2001:db8::10"), addr("fe80::10"), addr("::")}
	fill(odp.KeyAttrEthernet, 0, own[:], own[:], other[:])
	typ := []uint16{0, typeIPv4, typeIPv4, typeIPv6, typeIPv6, typeIPv6, typeARP, typeRARP, typeVLAN, 0x88b5}[r.IntN(10)]
	binary.BigEndian.PutUint16(k.Part(odp.KeyAttrEthertype), typ)
	proto := []byte{0, 1, protoIGMP, 6, protoUDP, protoICMPv6, protoICMPv6, protoICMPv6, protoNone}[r.IntN(9)]
	frag := []byte{fragNone, fragNone, fragNone, 1, fragLater}[r.IntN(5)]
	switch typ {
	case typeARP, typeRARP:
		fill(odp.KeyAttrARP, arpSIP, v4...)
		fill(odp.KeyAttrARP, arpTIP, v4...)
		fill(odp.KeyAttrARP, arpSHA, own[:], own[:], other[:])
		return &k
	case typeIPv4:
		fill(odp.KeyAttrIPv4, 0, v4...)
		k.Part(odp.KeyAttrIPv4)[ipv4Proto], k.Part(odp.KeyAttrIPv4)[ipv4Frag] = proto, frag
	case typeIPv6:
		fill(odp.KeyAttrIPv6, ipv6Src, v6...)
		k.Part(odp.KeyAttrIPv6)[ipv6Proto], k.Part(odp.KeyAttrIPv6)[ipv6Frag] = proto, frag
	default:
		return &k
	}
	if frag == fragLater {
		return &k
	}
	switch proto {
	case protoUDP:
		fill(odp.KeyAttrUDP, udpDst, []byte{0, 67}, []byte{0, 68}, []byte{2, 34}, []byte{2, 35})
	case protoICMPv6:
		typ := []byte{128, 131, 132, 133, 134, 135, 135, 136, 136, 137, 143}[r.IntN(11)]
		k.Part(odp.KeyAttrICMPv6)[0] = typ
		if typ == 135 || typ == 136 {
			fill(odp.KeyAttrND, ndTarget, v6...)
			fill(odp.KeyAttrND, ndSLL, own[:], make([]byte, 6))
			fill(odp.KeyAttrND, ndTLL, own[:], make([]byte, 6))
		}
	}
	return &k
}

// maxMasks is the maximum number of masks according to docs/FORWARDING.md, for a port with all
// settings and each number of tags. The arguments are the numbers of different prefix lengths of
// each family, including those of the zero addresses.
func maxMasks(ipv4, ipv6 int) int { return 42 + 8*ipv4 + 35*ipv6 + ipv6*ipv6 }

// TestMasks: the number of masks is bounded for any traffic, and packets that agree in the bits
// read for one are decided alike.
func TestMasks(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	rules := New(&all)
	masks := map[odp.Packed]bool{}
	for range 100_000 {
		k := randomKey(r)
		var m, n odp.Packed
		reason := rules.Check(k, &m)
		mix := *randomKey(r)
		masked := *k
		for i := range mix {
			mix[i] = mix[i]&^m[i] | k[i]&m[i]
			masked[i] &= m[i]
		}
		masks[m] = true
		if again := rules.Check(&mix, &n); again != reason || n != m {
			t.Fatalf("%q with mask %x, and %q with %x of a packet that the mask covers", reason, m, again, n)
		}
		n = odp.Packed{}
		if again := rules.Check(&masked, &n); again != reason || n != m {
			t.Fatalf("%q with mask %x, and %q with %x of the masked key", reason, m, again, n)
		}
	}
	const lengths4, lengths6 = 3, 2 // including those of the zero addresses
	if most := maxMasks(lengths4, lengths6); len(masks) > most {
		t.Errorf("%d masks, want at most %d", len(masks), most)
	}
	t.Logf("%d masks", len(masks))
}

// FuzzCheck: the decision for any key depends only on the bits in its mask.
func FuzzCheck(f *testing.F) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 8 {
		f.Add(randomKey(r)[:], randomKey(r)[:])
	}
	rules := New(&all)
	f.Fuzz(func(t *testing.T, a, b []byte) {
		var k, other, m, n odp.Packed
		copy(k[:], a)
		copy(other[:], b)
		reason := rules.Check(&k, &m)
		for i := range other {
			other[i] = other[i]&^m[i] | k[i]&m[i]
		}
		if again := rules.Check(&other, &n); again != reason || n != m {
			t.Fatalf("%q with mask %x, then %q with %x", reason, m, again, n)
		}
	})
}

func TestCheckAllocs(t *testing.T) {
	rules, r := New(&all), rand.New(rand.NewPCG(5, 6))
	k := randomKey(r)
	if n := testing.AllocsPerRun(100, func() {
		var m odp.Packed
		rules.Check(k, &m)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
