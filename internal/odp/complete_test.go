package odp

import "testing"

// TestComplete: missing attributes of a packet's key are added, and listed.
func TestComplete(t *testing.T) {
	const zeros = "eth(src=00:00:00:00:00:00,dst=00:00:00:00:00:00)"
	for _, tt := range []struct{ text, want, added string }{
		{"in_port(1)", "in_port(1)," + zeros + ",eth_type(0x0800)", zeros + ",eth_type(0x0800)"},
		{"in_port(1),eth(dst=02:00:00:00:00:01),eth_type(0x0806)", "in_port(1),eth(src=00:00:00:00:00:00,dst=02:00:00:00:00:01),eth_type(0x0806)", ""},
		{"in_port(1),eth(),eth_type(0/0xffff)", "in_port(1)," + zeros, ""},
		{"in_port(1),eth(),arp(op=1)", "in_port(1)," + zeros + ",eth_type(0x0806),arp(sip=0.0.0.0,tip=0.0.0.0,op=1,sha=00:00:00:00:00:00,tha=00:00:00:00:00:00)", "eth_type(0x0806)"},
		{"in_port(1),eth(),vlan(vid=10)", "in_port(1)," + zeros + ",vlan(vid=10,pcp=0),eth_type(0x8100)", "eth_type(0x8100)"},
		{"udp(dst=53),in_port(1),eth()", "in_port(1)," + zeros + ",eth_type(0x0800),ipv4(src=0.0.0.0,dst=0.0.0.0,proto=17,tos=0,ttl=0,frag=no),udp(src=0,dst=53)",
			"eth_type(0x0800),ipv4(proto=17)"},
		{"in_port(1),eth(),ipv6(hlimit=9),tcp(dst=1)",
			"in_port(1)," + zeros + ",eth_type(0x86dd),ipv6(src=::,dst=::,label=0,proto=6,tclass=0,hlimit=9,frag=no),tcp(src=0,dst=1)",
			"eth_type(0x86dd),ipv6(proto=6)"},
		{"in_port(1),eth(),ipv4(proto=17),tcp(dst=1)",
			"in_port(1)," + zeros + ",eth_type(0x0800),ipv4(src=0.0.0.0,dst=0.0.0.0,proto=17,tos=0,ttl=0,frag=no),tcp(src=0,dst=1)", "eth_type(0x0800)"},
	} {
		key, mask, err := Text{}.ParseKey(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		full, added := Complete(key, mask)
		if got := string(Text{}.AppendKey(nil, full, nil)); got != tt.want {
			t.Errorf("%s becomes\n%s, want\n%s", tt.text, got, tt.want)
		}
		if added != tt.added {
			t.Errorf("%s: added %s, want %s", tt.text, added, tt.added)
		}
	}
}
