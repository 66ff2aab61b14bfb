//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestPortPatterns: devices that match a pattern become ports when they appear, with the pattern's
// settings, which they keep through a rename and a restart. Entries with names take precedence;
// devices that belong to others or have addresses are not attached.
func TestPortPatterns(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	alone, late, taken := n.hosts[1].port, lab.Name("port"), lab.Name("port")
	other := lab.Name("dq")
	n.sw.DPCtl(t, "add-dp", other)
	n.sw.Run(t, "ip", "link", "add", taken, "type", "dummy")
	n.sw.DPCtl(t, "add-if", other, taken)
	pattern := "{match: 'port*', vlan: {access: 10}}"
	ports := fmt.Sprintf("[{match: '*9b', vlan: {access: 30}}, %s, {name: %s, vlan: {access: 20}}]", pattern, alone)
	d := n.run(t, settings{"ports": ports})
	p := n.sockets(t)
	isolated(t, "at start", p)
	exchange(t, p[0], p[2])

	since := time.Now()
	guest := lab.NewNetNS(t, "guest")
	noIPv6(t, guest)
	lab.Veth(t, lab.End{NS: n.sw, Name: late}, lab.End{NS: guest, Name: "eth0", MAC: "02:52:00:00:00:01"})
	d.Wait(t, since, "port_added", func(e lab.Event) bool { return e.Text("port") == late })
	q := guest.OpenPacket(t, "eth0")
	exchange(t, q, p[0])
	isolated(t, "late", []*lab.Packet{q, p[1]})

	since = time.Now()
	addressed := lab.Name("port")
	n.sw.Run(t, "ip", "link", "add", "moved", "type", "dummy")
	n.sw.Run(t, "ip", "address", "add", "192.0.2.9/32", "dev", "moved")
	n.sw.Run(t, "ip", "link", "set", "moved", "name", addressed)
	waits := d.Wait(t, since, "port_waiting", func(e lab.Event) bool { return e.Text("port") == addressed })
	if !strings.Contains(waits.Text("error"), "192.0.2.9") {
		t.Errorf("port_waiting: %v", waits.Fields)
	}

	renamed := lab.Name("eth")
	since = time.Now()
	n.sw.Run(t, "ip", "link", "set", late, "down")
	n.sw.Run(t, "ip", "link", "set", late, "name", renamed)
	n.sw.Run(t, "ip", "link", "set", renamed, "up")
	d.Wait(t, since, "port_renamed", nil)
	isolated(t, "renamed", []*lab.Packet{q, p[1]})
	since = time.Now()
	signal(t, d, unix.SIGUSR2)
	d.Wait(t, since, "ready", nil)
	isolated(t, "after a restart", []*lab.Packet{q, p[1]})
	exchange(t, q, p[0])

	for _, v := range n.view(t).vports(t) {
		if v.Name == taken || v.Name == addressed {
			t.Errorf("%s is a port", v.Name)
		}
	}
	since = time.Now()
	n.sw.Run(t, "ip", "link", "delete", n.hosts[2].port)
	d.Wait(t, since, "port_removed", func(e lab.Event) bool { return e.Text("port") == n.hosts[2].port })
	for _, e := range d.Events("port_waiting") {
		if e.Text("port") != addressed {
			t.Errorf("a port waits: %v", e)
		}
	}
	since = reload(t, d, n.config(settings{"ports": strings.Replace(ports, pattern+",", "", 1)}))
	d.Wait(t, since, "port_removed", func(e lab.Event) bool { return e.Text("port") == renamed })
	stop(t, d)
}
