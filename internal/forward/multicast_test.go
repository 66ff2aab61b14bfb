package forward

import (
	"net/netip"
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/snoop"

	"github.com/google/go-cmp/cmp"
)

// snooper is a learning switch with five ports and snooping; a router is behind p4.
func snooper(t *testing.T, floodUnregistered bool, ports PortConfigs) *Learning {
	t.Helper()
	l, err := NewLearning(Config{Ports: ports, Multicast: MulticastConfig{Snooping: true,
		FloodUnregistered: floodUnregistered, GroupLimit: 2}})
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(portList(1, 2, 3, 4, 5))
	return l
}

func parseKey(t *testing.T, text string) []byte {
	t.Helper()
	b, _, err := odp.Text{}.ParseKey(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return b
}

const (
	from1  = "in_port(1),eth(src=02:00:00:00:00:01,dst="
	group4 = from1 + "01:00:5e:01:02:03),eth_type(0x0800)," +
		"ipv4(src=10.0.0.1,dst=239.1.2.3,proto=17,tos=0,ttl=1,frag=no),udp(src=1,dst=2)"
	group6 = from1 + "33:33:00:00:00:05),eth_type(0x86dd)," +
		"ipv6(src=fe80::1,dst=ff05::5,label=0,proto=17,tclass=0,hlimit=1,frag=no),udp(src=1,dst=2)"
)

// TestGroups: packets of a group go to its members and to routers only.
func TestGroups(t *testing.T) {
	report := snoop.Entry{Group: netip.MustParseAddr("239.1.2.3"), UntilMS: 1000}
	all := []odp.PortNo{2, 3, 4, 5}
	for _, tt := range []struct {
		name, key, reason string
		flood             bool
		want              []odp.PortNo
	}{
		{"members and router", group4, reasonGroup, true, []odp.PortNo{2, 4}},
		{"no member", group6, reasonUnregistered, true, all},
		{"no member, not flooded", group6, reasonUnregistered, false, []odp.PortNo{4}},
		{"another group with the MAC", from1 + "01:00:5e:01:02:03),eth_type(0x0800),ipv4(src=10.0.0.1,dst=238.1.2.3,proto=17,tos=0,ttl=1,frag=no),udp(src=1,dst=2)",
			reasonUnregistered, false, []odp.PortNo{4}},
		{"the link's", from1 + "01:00:5e:00:00:fb),eth_type(0x0800),ipv4(src=10.0.0.1,dst=224.0.0.251,proto=17,tos=0,ttl=1,frag=no),udp(src=1,dst=2)", "multicast", false, all},
		{"the link's of IPv6", from1 + "33:33:00:00:00:fb),eth_type(0x86dd),ipv6(src=fe80::1,dst=ff02::fb,label=0,proto=17,tclass=0,hlimit=1,frag=no),udp(src=1,dst=2)", "multicast", false, all},
		{"neighbor discovery", from1 + "33:33:ff:00:00:01),eth_type(0x86dd),ipv6(src=fe80::1,dst=ff02::1:ff00:1,label=0,proto=58,tclass=0,hlimit=255,frag=no)," +
			"icmpv6(type=135,code=0),nd(target=fe80::1,sll=00:00:00:00:00:00,tll=00:00:00:00:00:00)", "multicast", false, all},
		{"no IP", from1 + "01:00:5e:01:02:03),eth_type(0x88b5)", "multicast", false, all},
		{"broadcast", from1 + "ff:ff:ff:ff:ff:ff),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.255,proto=17,tos=0,ttl=1,frag=no),udp(src=1,dst=2)", "multicast", false, all},
		{"a station's address in a group's", from1 + "01:00:5e:01:02:03),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.9,proto=17,tos=0,ttl=1,frag=no),udp(src=1,dst=2)", "multicast", false, all},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := snooper(t, tt.flood, PortConfigs{"p4": {MulticastRouter: true}})
			member := report
			member.Port = 2
			l.Groups().Restore([]snoop.Entry{member})
			k := parseKey(t, tt.key)
			v := decide(l, k, 10)
			if got := outputs(t, v); !slices.Equal(got, tt.want) || v.Reason != tt.reason || !v.Install {
				t.Errorf("%s to %v, want %s to %v", v.Reason, got, tt.reason, tt.want)
			}
			if again, keep := redecide(l, k); !keep || !slices.Equal(outputs(t, again), tt.want) ||
				string(again.Mask.Bytes()) != string(v.Mask.Bytes()) {
				t.Errorf("re-decided: %s", verdictText(again))
			}
			var w policy.Verdict
			u := dpif.Upcall{InPort: 1, Key: k}
			if n := testing.AllocsPerRun(10, func() { w.Clear(); l.Decide(&u, 10, &w) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// igmpFrame is a frame with an IGMP message of 8 bytes, without sources.
func igmpFrame(typ, code byte, group string) []byte {
	g := netip.MustParseAddr(group).As4()
	m := []byte{typ, code, 0, 0, g[0], g[1], g[2], g[3]}
	sum := uint32(typ)<<8 + uint32(code) + uint32(g[0])<<8 + uint32(g[1]) + uint32(g[2])<<8 + uint32(g[3])
	sum = ^(sum>>16 + sum&0xffff)
	m[2], m[3] = byte(sum>>8), byte(sum)
	b := append(make([]byte, 12), 8, 0, 0x45, 0, 0, 28, 0, 0, 0, 0, 1, 2, 0, 0, 10, 0, 0, 1)
	return append(append(b, g[:]...), m...)
}

// TestMessages: each message causes an upcall, updates the members, and goes to the ports that need
// it; a change of a group with flows increases the generation.
func TestMessages(t *testing.T) {
	l := snooper(t, false, nil)
	message := func(in string, typ, code byte, group string) *policy.Verdict {
		t.Helper()
		k := parseKey(t, "in_port("+in+"),eth(src=02:00:00:00:00:0"+in+",dst=01:00:5e:01:02:03),eth_type(0x0800),"+
			"ipv4(src=10.0.0.1,dst="+group+",proto=2,tos=0,ttl=1,frag=no)")
		u := dpif.Upcall{InPort: odp.PortNo(in[0] - '0'), Key: k, Packet: igmpFrame(typ, code, group)}
		v := &policy.Verdict{}
		l.Decide(&u, 10, v)
		if v.Install {
			t.Error("a flow hides messages")
		}
		if _, keep := redecide(l, k); keep {
			t.Error("a flow that hides messages is kept")
		}
		return v
	}
	const report, leave, query, none = 0x16, 0x17, 0x11, "0.0.0.0"
	want := func(v *policy.Verdict, reason string, ports ...odp.PortNo) {
		t.Helper()
		if got := outputs(t, v); v.Reason != reason || !slices.Equal(got, ports) {
			t.Errorf("%s to %v, want %s to %v", v.Reason, got, reason, ports)
		}
	}
	data := func(ports ...odp.PortNo) {
		t.Helper()
		v := decide(l, parseKey(t, group4), 10)
		if got := outputs(t, v); !slices.Equal(got, ports) {
			t.Errorf("packets go to %v, want %v", got, ports)
		}
	}
	data()
	want(message("2", report, 0, "239.1.2.3"), reasonReport)
	want(message("5", query, 100, none), reasonMessage, 1, 2, 3, 4)
	want(message("3", report, 0, "239.1.2.3"), reasonReport, 5)
	want(message("2", 0x30, 0, none), reasonMessage, 1, 3, 4, 5) // unknown type
	before := l.Generation()
	data(2, 3, 5)
	want(message("3", report, 0, "239.1.2.3"), reasonReport, 5)
	want(message("3", leave, 0, "239.1.2.3"), reasonReport, 5)
	want(message("3", report, 0, "239.1.2.4"), reasonReport, 5)
	if l.Generation() != before {
		t.Error("messages without an effect on flows increase the generation")
	}
	want(message("4", report, 0, "239.1.2.3"), reasonReport, 5)
	if l.Generation() == before {
		t.Error("existing flows do not reach the new member")
	}
	data(2, 3, 4, 5)
	before = l.Generation()
	want(message("5", query, 10, "239.1.2.3"), reasonMessage, 1, 2, 3, 4)
	l.Expiring(2009)
	data(2, 3, 4, 5)
	if l.Expiring(2010); l.Generation() == before {
		t.Error("members that left still get packets")
	}
	data(5)
	l.SetPorts(portList(1, 2, 3, 4))
	data()
	if diff := cmp.Diff(snoop.Counters{Groups: 1, Queries: 2, Reports: 6}, l.Groups().Counters()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
	broken := dpif.Upcall{InPort: 1, Key: parseKey(t, from1+"01:00:5e:01:02:03),eth_type(0x0800),"+
		"ipv4(src=10.0.0.1,dst=239.1.2.3,proto=2,tos=0,ttl=1,frag=no)")}
	broken.Packet = igmpFrame(report, 0, "239.1.2.3")
	broken.Packet[36]++
	var v policy.Verdict
	l.Decide(&broken, 10, &v)
	want(&v, reasonMessage, 2, 3, 4)
	if c := l.Groups().Counters(); c.Malformed != 1 {
		t.Errorf("%+v", c)
	}
}

// TestGroupVLANs: members belong to a VLAN, and get its tag according to their port.
func TestGroupVLANs(t *testing.T) {
	l := snooper(t, false, PortConfigs{"p1": {VLAN: VLANConfig{Access: 5}}, "p2": {VLAN: VLANConfig{Access: 5}}, "p3": {},
		"p4": {VLAN: VLANConfig{Access: 6}},
		"p5": {VLAN: VLANConfig{Access: 5}}})
	for _, no := range []odp.PortNo{2, 3, 4} {
		l.Groups().Restore([]snoop.Entry{{VLAN: 5, Group: netip.MustParseAddr("239.1.2.3"), Port: no, UntilMS: 1000}})
	}
	l.Groups().Restore([]snoop.Entry{{VLAN: 6, Group: netip.MustParseAddr("239.1.2.3"), Port: 5, UntilMS: 1000}})
	v := decide(l, parseKey(t, group4), 10)
	if got := string(odp.Text{}.AppendActions(nil, v.Actions.Bytes())); got != "2,push_vlan(vid=5,pcp=0),3" {
		t.Errorf("actions %s", got)
	}
}
