package policyswitch

import (
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/forward"
)

func loadPorts(t *testing.T, ports string) *config.Config {
	t.Helper()
	cfg, err := config.Parse("f", []byte("ports:\n"+ports))
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

const (
	onePort   = "- {name: one, type: vxlan, tunnel: {remote: 192.0.2.1, key: 1}}\n"
	twoPort   = "- {name: two, type: vxlan, max_upcalls: 7/s, tunnel: {remote: 192.0.2.1, key: 2, ttl: 3, tos: inherit}}\n"
	threePort = "- {name: three, type: gre, tunnel: {remote: '2001:db8::1', tos: 184}}\n"
)

// TestTunnelNumbers: a tunnel's number does not depend on other tunnels, and numbers are unique.
func TestTunnelNumbers(t *testing.T) {
	of := func(ports string) map[string]uint32 {
		all := map[string]uint32{}
		settings, _ := forwardingPorts(loadPorts(t, ports))
		for no, name := range number(settings) {
			all[name] = uint32(no)
		}
		return all
	}
	all := of(onePort + twoPort + threePort)
	if len(all) != 3 {
		t.Fatalf("numbers %v", all)
	}
	for name, port := range map[string]string{"one": onePort, "two": twoPort, "three": threePort} {
		if got := of(port)[name]; got != all[name] || got < uint32(forward.FirstTunnelNo) {
			t.Errorf("tunnel %s has number %d alone, %d among others", name, got, all[name])
		}
	}
}

// TestTunnelSettings: a tunnel has the settings of its port and defaults for the others.
func TestTunnelSettings(t *testing.T) {
	cfg := loadPorts(t, "- {name: eth1}\n"+onePort+twoPort+threePort)
	all, _ := forwardingPorts(cfg)
	two, three := all["two"].Tunnel, all["three"].Tunnel
	if two.Key != 2 || two.TTL != 3 || !two.TOSInherit || two.DstPort != 4789 || two.KeyOptional {
		t.Errorf("tunnel two: %+v", two)
	}
	if three.TTL != 64 || three.TOS != 184 || three.DstPort != 0 || !three.KeyOptional || three.Device != "ip6gre_sys" {
		t.Errorf("tunnel three: %+v", three)
	}
	if _, is := all["eth1"]; is {
		t.Error("a port without settings has some")
	}
	if !ForwardsAlike(cfg, loadPorts(t, "- {name: eth1}\n"+onePort+twoPort+threePort)) ||
		ForwardsAlike(cfg, loadPorts(t, "- {name: eth1}\n"+onePort+twoPort)) {
		t.Error("configurations with different tunnels compare as equal")
	}
}
