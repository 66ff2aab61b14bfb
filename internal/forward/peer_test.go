package forward

import (
	"testing"

	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TestPeer: host 1 sends from port 1 to host 2 behind port 2. The test checks for which packets the
// verdict includes the reverse flow.
func TestPeer(t *testing.T) {
	access := PortConfig{VLAN: VLANConfig{Access: 10}}
	for _, c := range []struct {
		name string
		cfg  PortConfigs
		tci  uint16
		dst  odp.MAC
		want bool
	}{
		{"plain", nil, 0, host(2), true},
		{"flooded", nil, 0, host(3), false},
		{"multicast", nil, 0, broadcast, false},
		{"tagged", nil, 0x100a, host(2), false},
		{"access to access", PortConfigs{"p1": access, "p2": access}, 0, host(2), true},
		{"access to trunk", PortConfigs{"p1": access}, 0, host(2), false},
		{"to another VLAN", PortConfigs{"p1": access, "p2": {VLAN: VLANConfig{Access: 20}}}, 0, host(2), false},
		{"isolated", PortConfigs{"p1": {Isolated: true}, "p2": {Isolated: true}}, 0, host(2), false},
		{"mirrored", PortConfigs{"p1": {MirrorTo: "p4"}}, 0, host(2), true},
	} {
		t.Run(c.name, func(t *testing.T) {
			l, err := NewLearning(Config{Ports: c.cfg})
			if err != nil {
				t.Fatal(err)
			}
			l.SetPorts(portList(1, 2, 3, 4))
			for _, tci := range []uint16{0, c.tci} {
				decide(l, taggedKey(2, host(2), broadcast, tci), 1000)
			}
			v := decide(l, taggedKey(1, host(1), c.dst, c.tci), 1000)
			if v.HasPeer != c.want || c.want && v.Peer != 2 {
				t.Fatalf("%s: peer %v, %t", v.Reason, v.Peer, v.HasPeer)
			}
			if !c.want {
				return
			}
			back, r := key(2, host(2), host(1)), policy.Verdict{}
			if !l.Redecide(back, &r) || !r.Install {
				t.Fatalf("the reverse flow is not installed: %s", r.Reason)
			}
			direct := decide(l, back, 1000)
			if string(r.Actions.Bytes()) != string(direct.Actions.Bytes()) ||
				string(r.Mask.Bytes()) != string(direct.Mask.Bytes()) {
				t.Errorf("the reverse flow is %x, its packet %x", r.Actions.Bytes(), direct.Actions.Bytes())
			}
		})
	}
}
