//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// ipLink returns iproute2's output for a device, "" if there is none.
func ipLink(t *testing.T, ns *lab.NetNS, device string) string {
	t.Helper()
	out, err := ns.Try("/usr/sbin/ip", "-d", "link", "show", "dev", device)
	if err != nil {
		if !strings.Contains(out, "does not exist") {
			t.Fatal(err)
		}
		return ""
	}
	return out
}

// shows waits until iproute2's output for a device contains each of words.
func shows(t *testing.T, ns *lab.NetNS, device string, words ...string) {
	t.Helper()
	for _, w := range words {
		eventually(t, waitLimit, fmt.Sprintf("ip -d link shows %q of %s", w, device), func() bool {
			return strings.Contains(ipLink(t, ns, device), w)
		})
	}
}

// without waits until a device does not exist.
func without(t *testing.T, ns *lab.NetNS, device string) {
	t.Helper()
	eventually(t, waitLimit, device+" goes", func() bool { return ipLink(t, ns, device) == "" })
}

// forDevice returns a predicate for events about a device.
func forDevice(name string) func(lab.Event) bool {
	return func(e lab.Event) bool { return e.Text("device") == name }
}

// TestInternalPort: an internal port is set up as configured, at start and at each reload; settings
// made by others are kept.
func TestInternalPort(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 1, 0)
	h := n.hosts[0]
	subnet := strings.TrimSuffix(h.ip4, ".11")
	ports := func(internal string) settings {
		return settings{"ports": fmt.Sprintf("[{name: %s}, {name: int0, type: internal%s}]", h.port, internal)}
	}
	setIPv6(t, n.sw, true)
	d := n.run(t, ports(fmt.Sprintf(", address: [%s.1/24, 'fd00:77::1/64'], up: true, mtu: 1400", subnet)))
	shows(t, n.sw, "int0", "mtu 1400", "UP", "openvswitch")
	addresses := func() string { return n.sw.Run(t, "/usr/sbin/ip", "addr", "show", "dev", "int0") }
	eventually(t, waitLimit, "int0 has both addresses", func() bool {
		return strings.Contains(addresses(), subnet+".1/24") && strings.Contains(addresses(), "fd00:77::1/64")
	})
	ping(t, h.NetNS, subnet+".1", 3, 1000)
	ping(t, n.sw, h.ip4, 3, 1372)

	n.sw.Run(t, "/usr/sbin/ip", "addr", "add", "172.30.0.1/24", "dev", "int0")
	reload(t, d, n.config(ports(fmt.Sprintf(", address: [%s.2/24], mtu: 1300", subnet))))
	eventually(t, waitLimit, "int0 has the other address, and that of others", func() bool {
		a := addresses()
		return strings.Contains(a, subnet+".2/24") && !strings.Contains(a, subnet+".1/24") &&
			strings.Contains(a, "172.30.0.1/24")
	})
	shows(t, n.sw, "int0", "mtu 1300", "UP")
	ping(t, h.NetNS, subnet+".2", 2, 100)

	since := reload(t, d, n.config(ports(fmt.Sprintf(", address: [%s.2/24]}, "+
		"{name: int1, type: internal, mtu: 68, address: ['fd00:78::1/64']", subnet))))
	// IPv6 requires an MTU of at least 1280, so setting this address fails.
	e := d.Wait(t, since, "port_setup_failed", forPort("int1"))
	if msg := e.Text("error"); !strings.Contains(msg, "int1") || !strings.Contains(msg, "fd00:78::1/64") {
		t.Errorf("port_setup_failed does not name the setting: %q", msg)
	}
	reload(t, d, n.config(nil))
	without(t, n.sw, "int0")
	without(t, n.sw, "int1")
	stop(t, d)
}

// TestPromiscuousPort: a port's device is promiscuous while it is attached, and no longer after it
// is detached.
func TestPromiscuousPort(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	before := ipLink(t, n.sw, n.hosts[1].port)
	if !strings.Contains(before, "promiscuity 0") {
		t.Fatalf("promiscuous before: %s", before)
	}
	d := n.run(t, nil)
	for _, h := range n.hosts {
		shows(t, n.sw, h.port, "promiscuity 1", "openvswitch_slave")
		if out := n.sw.Run(t, "ethtool", "-k", h.port); !strings.Contains(out, "large-receive-offload: off") {
			t.Errorf("large-receive-offload of %s is not off:\n%s", h.port, out)
		}
	}
	gone := n.hosts[1].port
	n.hosts = n.hosts[:1]
	reload(t, d, n.config(nil))
	shows(t, n.sw, gone, "promiscuity 0")
	stop(t, d)
}

// tunnel returns an entry of ports.
func tunnel(name, typ, settings string) string {
	return fmt.Sprintf("{name: %s, type: %s, tunnel: {%s}}", name, typ, settings)
}

func list(entries ...string) string { return "[" + strings.Join(entries, ", ") + "]" }

// TestTunnelDevices: tunnel devices are configured as Open vSwitch configures them, one device for
// all tunnels of the same type and UDP port. They come and go with the configuration and are
// removed with the datapath.
func TestTunnelDevices(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"vxlan", "geneve", "gre"} {
		needTunnel(t, typ, false)
	}
	n := newQuietNetwork(t, 0)
	vx1, vx2 := tunnel("vx1", "vxlan", "remote: 192.0.2.1, key: 1"), tunnel("vx2", "vxlan", "remote: 192.0.2.2, key: 2")
	others := []string{
		tunnel("vx3", "vxlan", "remote: 192.0.2.1, key: 1, dst_port: 8472"),
		tunnel("gnv", "geneve", "remote: '2001:db8::1', key: 77"),
		tunnel("gre", "gre", "remote: 192.0.2.1"),
	}
	gre6 := hasDevice(t, "ip6gretap", "external")
	if gre6 {
		others = append(others, tunnel("gre6", "gre", "remote: '2001:db8::1'"))
	}
	d := n.run(t, settings{"ports": list(append(others, vx1, vx2)...)})
	v := n.view(t)
	names := map[string][]string{
		"vxlan_sys_4789": {"vxlan external", "dstport 4789", "nolearning", "udp6zerocsumrx"},
		"vxlan_sys_8472": {"vxlan external", "dstport 8472", "nolearning", "udp6zerocsumrx"},
		"genev_sys_6081": {"geneve external", "dstport 6081"},
		"gre_sys":        {"gretap external"},
	}
	if hasDevice(t, "geneve", "external", "udp6zerocsumrx") {
		names["genev_sys_6081"] = append(names["genev_sys_6081"], "udp6zerocsumrx")
	}
	if gre6 {
		names["ip6gre_sys"] = []string{"ip6gretap external"}
	}
	for name, words := range names {
		shows(t, n.sw, name, append(words, "mtu 65000", "UP", "promiscuity 1", "alias dpifd: "+n.dpName)...)
		if p := v.vports(t)[name]; p.Type.String() != "netdev" {
			t.Errorf("vport %s is %v", name, p)
		}
	}
	if got := len(d.Events("device_created")); got != len(names) {
		t.Errorf("%d devices were created, want %d", got, len(names))
	}

	// Remove one of two tunnels, then the other.
	since := reload(t, d, n.config(settings{"ports": list(vx2)}))
	for name := range names {
		if name != "vxlan_sys_4789" {
			d.Wait(t, since, "device_removed", forDevice(name))
			without(t, n.sw, name)
		}
	}
	shows(t, n.sw, "vxlan_sys_4789", "promiscuity 1")
	since = reload(t, d, n.config(settings{"ports": list()}))
	d.Wait(t, since, "device_removed", forDevice("vxlan_sys_4789"))
	without(t, n.sw, "vxlan_sys_4789")
	if got := v.vports(t); len(got) != 1 {
		t.Errorf("vports %v, want the local one only", got)
	}

	// With on_exit: keep a device outlives the daemon. The next run recognises it, and removes it
	// if it is not configured.
	since = reload(t, d, n.config(settings{"ports": list(vx1, others[1])}))
	d.Wait(t, since, "port_added", forPort("genev_sys_6081"))
	d.Wait(t, since, "port_added", forPort("vxlan_sys_4789"))
	stop(t, d)
	d = n.run(t, settings{"ports": list(others[1]), "datapath": "{name: " + n.dpName + ", on_exit: delete}"})
	without(t, n.sw, "vxlan_sys_4789")
	shows(t, n.sw, "genev_sys_6081", "promiscuity 1")
	// Another program deletes the device: it is created again.
	since = time.Now()
	n.sw.DeleteLink(t, "genev_sys_6081")
	d.Wait(t, since, "device_created", forDevice("genev_sys_6081"))
	d.Wait(t, since, "port_added", forPort("genev_sys_6081"))
	stop(t, d)
	without(t, n.sw, "genev_sys_6081")
}

// TestFoundTunnelDevice: an existing device with the right settings is used and never removed; one
// with other settings is left alone, and the tunnel waits until it is gone.
func TestFoundTunnelDevice(t *testing.T) {
	t.Parallel()
	for _, typ := range []string{"vxlan", "geneve", "gre"} {
		needTunnel(t, typ, false)
	}
	n := newQuietNetwork(t, 0)
	add := func(args ...string) {
		t.Helper()
		n.sw.Run(t, "/usr/sbin/ip", append([]string{"link", "add"}, args...)...)
	}
	add("vxlan_sys_4789", "type", "vxlan", "external", "dstport", "4789", "nolearning", "udp6zerocsumrx")
	add("genev_sys_6081", "type", "geneve", "external", "dstport", "6082", "udp6zerocsumrx")
	add("gre_sys", "type", "dummy")
	tunnels := []string{tunnel("vx", "vxlan", "remote: 192.0.2.1"), tunnel("gnv", "geneve", "remote: 192.0.2.1"),
		tunnel("gre", "gre", "remote: 192.0.2.1")}
	waiting := map[string]string{
		"genev_sys_6081": "its port is 6082, not 6081",
		"gre_sys":        "it is dummy, not gretap",
	}
	if hasDevice(t, "ip6gretap", "external") {
		add("other_gre", "type", "ip6gretap", "external")
		tunnels = append(tunnels, tunnel("gre6", "gre", "remote: '2001:db8::1'"))
		waiting["ip6gre_sys"] = "another device of the namespace has its place"
	}
	d := n.run(t, settings{"ports": list(tunnels...)})
	d.Wait(t, time.Time{}, "port_added", forPort("vxlan_sys_4789"))
	shows(t, n.sw, "vxlan_sys_4789", "UP", "openvswitch_slave")
	for device, why := range waiting {
		if e := d.Wait(t, time.Time{}, "port_waiting", forPort(device)); !strings.Contains(e.Text("error"), why) {
			t.Errorf("%s waits because of %q, want %q", device, e.Text("error"), why)
		}
	}
	since := time.Now()
	n.sw.DeleteLink(t, "genev_sys_6081")
	d.Wait(t, since, "device_created", forDevice("genev_sys_6081"))
	d.Wait(t, since, "port_added", forPort("genev_sys_6081"))
	reload(t, d, n.config(settings{"ports": list()}))
	without(t, n.sw, "genev_sys_6081")
	shows(t, n.sw, "vxlan_sys_4789", "promiscuity 0")
	shows(t, n.sw, "gre_sys", "dummy")
	stop(t, d)
	if got := d.Events("device_removed"); len(got) != 1 {
		t.Errorf("device_removed: %v, want that of the Geneve device only", got)
	}
}
