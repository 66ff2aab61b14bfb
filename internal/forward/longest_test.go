package forward

import (
	"fmt"
	"net/netip"
	"testing"

	"dpifd/internal/odp"
)

func TestLongestFlood(t *testing.T) {
	names := func(n int) (list []string) {
		for i := range n {
			list = append(list, fmt.Sprint("p", i))
		}
		return list
	}
	isolated, access, tunnels := PortConfigs{}, PortConfigs{}, PortConfigs{}
	for i, name := range names(5000) {
		isolated[name] = PortConfig{Isolated: i > 0}
		access[name] = PortConfig{VLAN: VLANConfig{Access: uint16(1 + i%2)}}
		if i < 700 {
			tunnels[name] = PortConfig{Tunnel: &TunnelConfig{No: FirstTunnelNo + odp.PortNo(i), Device: "vxlan",
				Remote: netip.MustParseAddr("192.0.2.9"), Key: uint64(i)}}
		}
	}
	const output, least = 8, 40 // size in bytes of an output, and minimum of one into a tunnel
	for _, tt := range []struct {
		name     string
		cfg      PortConfigs
		ports    []string
		from, to int
		vlans    []uint16
	}{
		{"none", nil, nil, 0, 0, []uint16{0}},
		{"plain", nil, names(5000), 4999 * output, 4999 * output, []uint16{0}},
		{"all but one isolated", isolated, names(5000), 4999 * output, 4999 * output, []uint16{0}},
		{"two VLANs", access, names(5000), 2499 * output, 2500 * output, []uint16{1, 2}},
		{"tunnels and a port", tunnels, []string{"vxlan", "a"}, 699 * least, 700 * 3 * least, []uint16{0}},
	} {
		bytes, vlan := LongestFlood(tt.cfg, tt.ports)
		if bytes < tt.from || bytes > tt.to || vlan != tt.vlans[0] && vlan != tt.vlans[len(tt.vlans)-1] {
			t.Errorf("%s: %d bytes in VLAN %d, want %d to %d", tt.name, bytes, vlan, tt.from, tt.to)
		}
	}
}
