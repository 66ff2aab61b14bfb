//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"dpifd/internal/lab"
)

// TestLocalPortVLAN: if ports have VLANs, the local port is in VLAN 0 only, unless its entry
// sets VLANs. When its entry is removed, so is the address that the entry gave it.
func TestLocalPortVLAN(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	ports := fmt.Sprintf("{name: %s}, {name: %s, vlan: {access: 10}}", n.hosts[0].port, n.hosts[1].port)
	d := n.run(t, settings{"ports": "[" + ports + "]"})
	if e := d.Events("port_unlisted"); len(e) > 0 {
		t.Errorf("port_unlisted: %v", e)
	}
	p := n.sockets(t)
	n.sw.SetLink(t, n.dpName, true)
	local := n.sw.OpenPacket(t, n.dpName)
	untagged := frame(t, broadcast, "02:51:00:00:01:01")
	send(t, p[0], untagged)
	local.Expect(t, waitLimit, among(untagged))
	back := frame(t, broadcast, "02:51:00:00:01:02")
	send(t, local, back)
	p[0].Expect(t, waitLimit, among(back))
	check := func(when string, in *lab.Packet, f []byte) {
		t.Helper()
		send(t, in, f)
		if seen(t, local, f) {
			t.Errorf("%s: a frame of VLAN 10 reaches the local port", when)
		}
	}
	check("access", p[1], frame(t, broadcast, "02:51:00:00:01:03"))
	check("tagged", p[0], tagged(t, 10, broadcast, "02:51:00:00:01:04"))

	since := reload(t, d, n.config(settings{"ports": fmt.Sprintf("[%s, {name: %s, type: internal}]", ports, n.dpName)}))
	d.Wait(t, since, "reloaded", nil)
	check("listed, access", p[1], frame(t, broadcast, "02:51:00:00:01:05"))

	since = reload(t, d, n.config(settings{"ports": fmt.Sprintf(
		"[%s, {name: %s, type: internal, vlan: {access: 10}, address: [192.0.2.10/24]}]", ports, n.dpName)}))
	d.Wait(t, since, "reloaded", nil)
	f := frame(t, broadcast, "02:51:00:00:01:06")
	send(t, p[1], f)
	local.Expect(t, waitLimit, among(f))
	g := frame(t, broadcast, "02:51:00:00:01:07")
	send(t, p[0], g)
	if seen(t, local, g) {
		t.Error("a frame of VLAN 0 reaches the local port of VLAN 10")
	}

	addressed := func() bool {
		return strings.Contains(n.sw.Run(t, "ip", "address", "show", "dev", n.dpName), "192.0.2.10/24")
	}
	eventually(t, waitLimit, "the local port has its address", addressed)
	reload(t, d, n.config(settings{"ports": "[" + ports + "]"}))
	eventually(t, waitLimit, "without its entry it has none", func() bool { return !addressed() })
}
