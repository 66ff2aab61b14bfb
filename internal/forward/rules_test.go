package forward

import (
	"net/netip"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/guard"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TestRules: a packet that a port may not send is dropped by its own flow, and not learned.
func TestRules(t *testing.T) {
	cfg := PortConfigs{
		"p1": {Guard: guard.Config{MACs: []odp.MAC{host(1)}}},
		"p2": {Guard: guard.Config{Addresses: []netip.Prefix{netip.MustParsePrefix("10.0.0.1/32")}}},
	}
	l, err := NewLearning(Config{Ports: cfg})
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(portList(1, 2, 3))
	flood := newFlood(cfg)
	flood.SetPorts(portList(1, 2, 3))
	ipv4 := func(in, src string) []byte {
		b, _, err := odp.Text{}.ParseKey("in_port(" + in + "),eth(src=02:00:00:00:00:02,dst=ff:ff:ff:ff:ff:ff)," +
			"eth_type(0x0800),ipv4(src=" + src + ",dst=10.0.0.9,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0)")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	for _, tt := range []struct {
		name, reason string
		key          []byte
		spoofed      bool
	}{
		{"own MAC", "multicast", key(1, host(1), broadcast), false},
		{"another MAC", guard.SourceMAC, key(1, host(2), broadcast), true},
		{"own address", "multicast", ipv4("2", "10.0.0.1"), false},
		{"another address", guard.SourceAddress, ipv4("2", "10.0.0.2"), true},
		{"other port", "multicast", ipv4("3", "10.0.0.2"), false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			learned := l.Stats().Learned
			v := decide(l, tt.key, 10)
			if v.Reason != tt.reason || v.Spoofed != tt.spoofed || !v.Install || (v.Actions.Len() == 0) != tt.spoofed {
				t.Errorf("%s, want %s, spoofed %v", verdictText(v), tt.reason, tt.spoofed)
			}
			if tt.spoofed {
				l.Observe(tt.key, 20)
				if l.Stats().Learned != learned {
					t.Error("it was learned from")
				}
			}
			if again, keep := redecide(l, tt.key); !keep || again.Spoofed != tt.spoofed ||
				string(again.Mask.Bytes()) != string(v.Mask.Bytes()) {
				t.Errorf("re-decided %v: %s", keep, verdictText(again))
			}
			if v := decide(flood, tt.key, 10); v.Spoofed != tt.spoofed || (v.Actions.Len() == 0) != tt.spoofed {
				t.Errorf("flooded: %s", verdictText(v))
			}
		})
	}
	var v policy.Verdict
	u := dpif.Upcall{InPort: 2, Key: ipv4("2", "10.0.0.2")}
	if n := testing.AllocsPerRun(100, func() { v.Clear(); l.Decide(&u, 10, &v) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	// A key that ends within an attribute gets no flow, as that flow would match all packets of the
	// port.
	broken := ipv4("2", "10.0.0.2")
	broken = append(broken, 3, 0, 1, 0)
	if v := decide(l, broken, 10); v.Install || v.Actions.Len() != 0 {
		t.Errorf("malformed key: %s", verdictText(v))
	}
}
