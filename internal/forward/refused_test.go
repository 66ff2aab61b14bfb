package forward

import (
	"testing"

	"dpifd/internal/odp"
)

// TestRefused distinguishes packets that a setting rejects from those without a destination.
func TestRefused(t *testing.T) {
	cfg := PortConfigs{"p1": {VLAN: VLANConfig{Access: 10}}, "p2": {MirrorTo: "p3"}}
	for _, name := range []string{"learning", "flood"} {
		p, err := New(name, Config{Ports: cfg})
		if err != nil {
			t.Fatal(err)
		}
		p.SetPorts(portList(1, 2, 3))
		for _, c := range []struct {
			key     []byte
			refused bool
		}{
			{taggedKey(1, host(1), broadcast, 0x1014), true}, // VLAN 20
			{key(1, host(1), broadcast), false},
			{key(3, host(3), broadcast), true}, // a mirror
			{key(2, host(2), odp.MAC{0x01, 0x80, 0xc2}), false},
		} {
			v := decide(p, c.key, 1)
			if v.Refused != c.refused || c.refused && v.Actions.Len() > 0 {
				t.Errorf("%s, %x: refused %v as %s", name, c.key, v.Refused, v.Reason)
			}
			if again, ok := redecide(p, c.key); ok && again.Refused != c.refused {
				t.Errorf("%s, %x: re-decided refused %v", name, c.key, again.Refused)
			}
		}
	}
}
