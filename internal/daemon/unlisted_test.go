package daemon

import (
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TestUnlistedLocalPort: by default the local port is in VLAN 0 beside ports with VLANs,
// and carries nothing beside ports with other settings.
func TestUnlistedLocalPort(t *testing.T) {
	for _, c := range []struct {
		file string
		says bool
		want string
	}{
		{"ports: [{name: a}, {name: b, vlan: {access: 10}}]", false, "multicast"},
		{"ports: [{name: a}, {name: b, vlan: {access: 10}}]\nports_unlisted: drop", true, "drop"},
		{"ports: [{name: a}, {name: b, isolated: true}]", true, "drop"},
		{"ports: [{name: a}, {name: b}]", false, "multicast"},
	} {
		file, err := config.Parse("x", []byte(c.file))
		if err != nil {
			t.Fatal(err)
		}
		var said []event.Event
		s := &policySwitch{tell: func(e event.Event) { said = append(said, e) }}
		if err := s.use(file); err != nil {
			t.Fatal(err)
		}
		s.SetPorts([]policy.Port{{No: localPort, Name: "dp0", Device: "dp0"}, {No: 1, Name: "a", Listed: true}, {No: 2, Name: "b", Listed: true}})
		var e netlink.Encoder
		odp.AppendInPort(&e, localPort)
		odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, 1}, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		odp.AppendEthertype(&e, 0x88b5)
		var v policy.Verdict
		s.Decide(&dpif.Upcall{InPort: localPort, Key: e.Bytes()}, 1000, &v)
		if v.Reason != c.want || (len(said) > 0) != c.says {
			t.Errorf("%s: %s, and %v was said; want %s", c.file, v.Reason, said, c.want)
		}
	}
}
