package portdevice

import (
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/device"
)

// TestPorts: tunnels of one device share its vport, and its limit.
func TestPorts(t *testing.T) {
	load := func(ports string) *config.Config {
		t.Helper()
		cfg, err := config.Parse("f", []byte("ports:\n"+ports))
		if err != nil {
			t.Fatal(err)
		}
		return cfg
	}
	const two = "- {name: two, type: vxlan, max_upcalls: 7/s, tunnel: {remote: 192.0.2.1, key: 2}}\n"
	var names []string
	for _, p := range Ports(load("- {name: eth1}\n- {name: one, type: vxlan, tunnel: {remote: 192.0.2.1, key: 1}}\n" +
		two + "- {name: three, type: gre, tunnel: {remote: '2001:db8::1'}}\n")) {
		names = append(names, p.Name)
		if p.MaxUpcalls != 0 {
			t.Errorf("port %s is limited, though one of its tunnels is not", p.Name)
		}
	}
	vxlan := device.Tunnel{Kind: device.VXLAN, DstPort: 4789}
	if len(names) != 3 || names[1] != vxlan.Name() || names[2] != "ip6gre_sys" {
		t.Errorf("vports %q", names)
	}
	if got := Ports(load(two)); got[0].MaxUpcalls != 7 {
		t.Errorf("a limited tunnel alone: %+v", got)
	}
}
