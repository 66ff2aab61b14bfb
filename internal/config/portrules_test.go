package config

import (
	"strings"
	"testing"

	"dpifd/internal/device"
)

// TestPortMistakes checks the first lines of errors about ports of all types.
func TestPortMistakes(t *testing.T) {
	const remote = "tunnel: {remote: 192.0.2.1}"
	for _, tt := range []struct{ name, file, want string }{
		{"no IP address", "ports: [{name: a, type: gre, tunnel: {remote: host}}]",
			`1:47: ports[0].tunnel.remote: "host" is not an IP address`},
		{"multicast", "ports: [{name: a, type: vxlan, tunnel: {remote: 239.1.1.1}}]",
			`1:49: ports[0].tunnel.remote: "239.1.1.1" is not the address of one host`},
		{"broadcast", "ports: [{name: a, type: vxlan, tunnel: {remote: 255.255.255.255}}]",
			`1:49: ports[0].tunnel.remote: "255.255.255.255" is not the address of one host`},
		{"zone", "ports: [{name: a, type: vxlan, tunnel: {remote: 'fe80::1%eth0'}}]",
			`1:49: ports[0].tunnel.remote: "fe80::1%eth0" is not the address of one host`},
		{"list for an address", "ports: [{name: a, type: vxlan, tunnel: {remote: [192.0.2.1]}}]",
			`1:49: ports[0].tunnel.remote: want a value, not a list`},
		{"families", "ports: [{name: a, type: vxlan, tunnel: {remote: 192.0.2.1, local: '2001:db8::1'}}]",
			`1:67: ports[0].tunnel.local: 2001:db8::1 and the remote address 192.0.2.1 are not of the same family`},
		{"no remote", "ports: [{name: a, type: geneve, tunnel: {key: 3}}]",
			`1:41: ports[0].tunnel: tunnel port "a" has no remote address`},
		{"no tunnel", "ports: [{name: a, type: geneve}]",
			`1:9: ports[0]: tunnel port "a" has no remote address`},
		{"VNI", "ports: [{name: a, type: geneve, tunnel: {remote: 192.0.2.1, key: 16777216}}]",
			`1:66: ports[0].tunnel.key: 16777216 is out of range; a geneve network identifier is at most 16777215`},
		{"key of GRE", "ports: [{name: a, type: gre, tunnel: {remote: 192.0.2.1, key: 4294967296}}]",
			`1:63: ports[0].tunnel.key: 4294967296 is out of range; want 0 to 4294967295`},
		{"port of GRE", "ports: [{name: a, type: gre, tunnel: {remote: 192.0.2.1, dst_port: 47}}]",
			`1:68: ports[0].tunnel.dst_port: port "a" is of type gre; only vxlan or geneve has this`},
		{"port", "ports: [{name: a, type: vxlan, tunnel: {remote: 192.0.2.1, dst_port: 65536}}]",
			`1:70: ports[0].tunnel.dst_port: 65536 is out of range; want 1 to 65535`},
		{"TTL", "ports: [{name: a, type: vxlan, tunnel: {remote: 192.0.2.1, ttl: 0}}]",
			`1:65: ports[0].tunnel.ttl: 0 is out of range; want 1 to 255`},
		{"ECN", "ports: [{name: a, type: vxlan, tunnel: {remote: 192.0.2.1, tos: 5}}]",
			`1:65: ports[0].tunnel.tos: the two lowest bits must be 0: the kernel sets them for congestion notification (ECN)`},
		{"word for TOS", "ports: [{name: a, type: vxlan, tunnel: {remote: 192.0.2.1, tos: copy}}]",
			`1:65: ports[0].tunnel.tos: "copy" is neither inherit nor a number`},
		{"TOS", "ports: [{name: a, type: vxlan, tunnel: {remote: 192.0.2.1, tos: 256}}]",
			`1:65: ports[0].tunnel.tos: 256 is out of range; want 0 to 255, or inherit`},
		{"tunnel of a device", "ports: [{name: a, " + remote + "}]",
			`1:27: ports[0].tunnel: port "a" is of type netdev; only a tunnel (vxlan, geneve, gre) has this`},
		{"address of a device", "ports: [{name: a, address: [10.0.0.1/24]}]",
			`1:28: ports[0].address: port "a" is of type netdev; only an internal port has this`},
		{"MTU of a tunnel", "ports: [{name: a, type: gre, mtu: 1400, " + remote + "}]",
			`1:35: ports[0].mtu: port "a" is of type gre; only an internal port has this`},
		{"up", "ports: [{name: a, type: gre, up: true, " + remote + "}]",
			`1:34: ports[0].up: port "a" is of type gre; only an internal port has this`},
		{"prefix", "ports: [{name: a, type: internal, address: [10.0.0.1]}]",
			`1:45: ports[0].address[0]: "10.0.0.1" is not an address with a prefix length, such as 10.0.0.1/24`},
		{"network", "ports: [{name: a, type: internal, address: ['::/64']}]",
			`1:45: ports[0].address[0]: "::/64" is not the address of a device`},
		{"twice", "ports:\n- {name: a, type: gre, " + remote + "}\n- {name: b, type: gre, " + remote + "}\n",
			`3:32: ports[1].tunnel: port "b" has the remote address, key and port of "a" on line 2`},
		{"own mirror", "ports: [{name: a, mirror_to: a}]",
			`1:30: ports[0].mirror_to: a port cannot be its own mirror`},
		{"mirror that is not there", "ports: [{name: a, mirror_to: b}]",
			`1:30: ports[0].mirror_to: the list has no port "b"`},
		{"mirror with a mirror", "ports: [{name: a, mirror_to: b}, {name: b, mirror_to: c}, {name: c}]",
			`1:30: ports[0].mirror_to: port "b" is mirrored itself`},
		{"name of a tunnel device", "ports:\n- {name: vxlan_sys_4789}\n- {name: v, type: vxlan, " + remote + "}\n",
			`2:10: ports[0].name: "vxlan_sys_4789" is the device of tunnel port "v"`},
		{"name and pattern", "ports: [{name: a, match: 'a*'}]",
			`1:26: ports[0].match: a port has a name or a pattern (match), not both`},
		{"pattern for one", "ports: [{match: eth1}]",
			`1:17: ports[0].match: "eth1" contains no *, ? or [...]; use name for one device`},
		{"broken pattern", "ports: [{match: 'eth[1'}]",
			`1:17: ports[0].match: "eth[1" is not a pattern such as tap*, veth? or eth[0-3]`},
		{"pattern that matches nothing", "ports: [{match: 'a/*'}]",
			`1:17: ports[0].match: "a/*" contains a character that is not allowed in device names`},
		{"pattern twice", "ports:\n- {match: 'a*'}\n- {match: 'a*', hairpin: true}\n",
			`3:11: ports[1].match: duplicate pattern "a*"; the first is on line 2`},
		{"pattern of tunnels", "ports: [{match: 'a*', type: gre, " + remote + "}]",
			`1:17: ports[0].match: is for existing devices and internal ports; a gre port needs a name`},
		{"address of a pattern", "ports: [{match: 'a*', type: internal, address: [10.0.0.1/24]}]",
			`1:48: ports[0].address: is for a port with a name, not for a pattern`},
		{"mirror that is a pattern", "ports: [{name: a, mirror_to: 'b*'}, {match: 'b*'}]",
			`1:30: ports[0].mirror_to: the list has no port "b*"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Parse("f", []byte(tt.file))
			if err == nil {
				t.Fatal("accepted")
			}
			if first, _, _ := strings.Cut(err.Error(), "\n"); first != "f:"+tt.want {
				t.Errorf("error\n%s, want\nf:%s", first, tt.want)
			}
		})
	}
}

// TestTunnelsShareDevices: tunnels that packets can distinguish are accepted, and have the devices
// that Open vSwitch would give them.
func TestTunnelsShareDevices(t *testing.T) {
	c, err := Parse("f", []byte(`ports:
- {name: a, type: vxlan, tunnel: {remote: 192.0.2.1}}
- {name: b, type: vxlan, tunnel: {remote: 192.0.2.1, key: 1, dst_port: 4789}}
- {name: c, type: vxlan, tunnel: {remote: "2001:db8::1"}}
- {name: d, type: vxlan, tunnel: {remote: 192.0.2.1, local: 192.0.2.9}}
- {name: e, type: vxlan, tunnel: {remote: 192.0.2.1, dst_port: 8472}}
- {name: f, type: geneve, tunnel: {remote: 192.0.2.1}}
- {name: g, type: gre, tunnel: {remote: 192.0.2.1}}
- {name: h, type: gre, tunnel: {remote: "2001:db8::1"}}
`))
	if err != nil {
		t.Fatal(err)
	}
	vxlan := device.Tunnel{Kind: device.VXLAN, DstPort: 4789}
	want := []device.Tunnel{vxlan, vxlan, vxlan, vxlan, {Kind: device.VXLAN, DstPort: 8472},
		{Kind: device.Geneve, DstPort: 6081}, {Kind: device.GRE}, {Kind: device.GRE6}}
	names := []string{"vxlan_sys_4789", "vxlan_sys_4789", "vxlan_sys_4789", "vxlan_sys_4789", "vxlan_sys_8472",
		"genev_sys_6081", "gre_sys", "ip6gre_sys"}
	for i := range c.Ports {
		if got := c.Ports[i].Device(); got != want[i] || got.Name() != names[i] {
			t.Errorf("port %s has device %v, %s; want %v, %s", c.Ports[i].Name, got, got.Name(), want[i], names[i])
		}
	}
}
