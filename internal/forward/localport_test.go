package forward

import (
	"maps"
	"testing"

	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// TestOnlyVLAN0: the local port of a switch with VLANs carries VLAN 0 only, unless its entry has
// VLAN settings.
func TestOnlyVLAN0(t *testing.T) {
	const local, trunk, access = 0, 1, 2
	for _, c := range []struct {
		name string
		vlan VLANConfig
		from odp.PortNo
		tags []tag
		want map[odp.PortNo]string
	}{
		{"default", VLANConfig{}, trunk, nil, map[odp.PortNo]string{local: "[]"}},
		{"default, priority tag", VLANConfig{}, trunk, []tag{{0x8100, 0x1000}}, map[odp.PortNo]string{local: "[]"}},
		{"default, VLAN 10", VLANConfig{}, trunk, []tag{{0x8100, 0x100a}}, map[odp.PortNo]string{access: "[]"}},
		{"default, from the access port", VLANConfig{}, access, nil, map[odp.PortNo]string{trunk: "[{8100 100a}]"}},
		{"default, from itself", VLANConfig{}, local, nil, map[odp.PortNo]string{trunk: "[]"}},
		{"default, tagged from itself", VLANConfig{}, local, []tag{{0x8100, 0x100a}}, map[odp.PortNo]string{}},
		{"access", VLANConfig{Access: 10}, access, nil, map[odp.PortNo]string{local: "[]", trunk: "[{8100 100a}]"}},
		{"access, VLAN 0", VLANConfig{Access: 10}, trunk, nil, map[odp.PortNo]string{}},
		{"trunk", VLANConfig{Trunk: []VLANRange{{1, 4094}}}, access, nil,
			map[odp.PortNo]string{local: "[{8100 100a}]", trunk: "[{8100 100a}]"}},
	} {
		cfg := PortConfigs{"access": {VLAN: VLANConfig{Access: 10}}, "dp": {VLAN: c.vlan}}
		ports := []policy.Port{{No: local, Name: "dp", OnlyVLAN0: true}, {No: trunk, Name: "trunk"},
			{No: access, Name: "access"}}
		for _, name := range []string{"learning", "flood"} {
			p, err := New(name, Config{Ports: cfg})
			if err != nil {
				t.Fatal(err)
			}
			p.SetPorts(ports)
			v := decide(p, stackedKey(c.from, host(1), host(2), c.tags...), 1000)
			if got := sent(t, v, c.tags); !maps.Equal(got, c.want) {
				t.Errorf("%s, %s: %v, want %v", c.name, name, got, c.want)
			}
		}
	}
	// Before the port with settings comes, no existing port has any.
	p, err := New("learning", Config{Ports: PortConfigs{"access": {VLAN: VLANConfig{Access: 10}}}})
	if err != nil {
		t.Fatal(err)
	}
	p.SetPorts([]policy.Port{{No: local, Name: "dp", OnlyVLAN0: true}, {No: trunk, Name: "trunk"}})
	tags := []tag{{0x8100, 0x100a}}
	if got := sent(t, decide(p, stackedKey(trunk, host(1), host(2), tags...), 1000), tags); len(got) != 0 {
		t.Errorf("VLAN 10 reaches %v", got)
	}
}
