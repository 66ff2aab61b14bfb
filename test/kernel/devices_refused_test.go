//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// TestNoPort: devices that cannot be a port of the switch wait, and it is said why.
func TestNoPort(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	tun, taken := lab.Name("tun"), lab.Name("taken")
	n.sw.Run(t, "ip", "tuntap", "add", "mode", "tun", tun)
	n.sw.Run(t, "ip", "link", "add", taken, "type", "dummy")
	other := lab.Name("other")
	n.sw.DPCtl(t, "add-dp", other)
	n.sw.DPCtl(t, "add-if", other, taken)
	n.sw.Run(t, "ip", "address", "add", "192.0.2.77/24", "dev", n.hosts[1].port)
	d := n.sw.StartDaemon(t, n.config(settings{"ports": fmt.Sprintf("[{name: %s}, {name: %s}, {name: %s}, {name: %s}]",
		n.hosts[0].port, n.hosts[1].port, tun, taken)}))
	if e := d.Wait(t, time.Time{}, "ready", nil); e.Text("ports_waiting") != "2" {
		t.Errorf("ready: %v, want 2 ports to wait", e.Fields)
	}
	for port, want := range map[string]string{tun: "no Ethernet", taken: "port of datapath " + other} {
		if e := d.Wait(t, time.Time{}, "port_waiting", forPort(port)); !strings.Contains(e.Text("error"), want) {
			t.Errorf("%s waits: %q, want %q", port, e.Text("error"), want)
		}
	}
	e := d.Wait(t, time.Time{}, "port_has_addresses", nil)
	if e.Text("port") != n.hosts[1].port || !strings.Contains(fmt.Sprint(e.Fields["addresses"]), "192.0.2.77") {
		t.Errorf("port_has_addresses: %v", e.Fields)
	}
	// It is tried again without a word from the kernel about this datapath.
	since := time.Now()
	n.sw.DPCtl(t, "del-if", other, taken)
	d.Wait(t, since, "port_added", forPort(taken))
}

// TestStableMAC: internal ports and the local port have the same MAC, address and state when
// the datapath is made anew, and neighbours reach them at once.
func TestStableMAC(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 1, 0)
	h := n.hosts[0]
	tap := lab.Name("tap")
	ip := func(last int) string { return h.ip4[:strings.LastIndexByte(h.ip4, '.')+1] + fmt.Sprint(last) }
	const mac = "02:00:5e:77:77:01"
	d := n.run(t, settings{
		"datapath": "{name: " + n.dpName + ", create: true}",
		"ports": fmt.Sprintf("[{name: %s}, {name: %s, type: internal, address: [%s/24], up: true, mac: %q}, {name: %s, type: internal, address: [%s/24], up: true}]",
			h.port, n.dpName, ip(200), mac, tap, ip(201)),
	})
	address := func(device string) string {
		f := strings.Fields(n.sw.Run(t, "ip", "-o", "link", "show", "dev", device))
		for i := range f {
			if f[i] == "link/ether" {
				return f[i+1]
			}
		}
		return ""
	}
	answers := func(what string) {
		t.Helper()
		for _, a := range []string{ip(200), ip(201)} {
			if sent, got := h.Ping(t, a, 3); got < sent-1 {
				t.Errorf("%s: %s answers %d of %d", what, a, got, sent)
			}
		}
	}
	answers("first")
	if got := address(n.dpName); got != mac {
		t.Errorf("the local port has MAC %s, want %s", got, mac)
	}
	derived := address(tap)
	since := time.Now()
	n.sw.DPCtl(t, "del-dp", n.dpName)
	d.Wait(t, since, "port_added", forPort(tap))
	eventually(t, waitLimit, "the devices to be set up", func() bool {
		a, err1 := n.sw.Try("ip", "address", "show", "dev", n.dpName)
		b, err2 := n.sw.Try("ip", "address", "show", "dev", tap)
		return err1 == nil && err2 == nil && strings.Contains(a, ip(200)) && strings.Contains(b, ip(201))
	})
	if got := address(n.dpName); got != mac {
		t.Errorf("the local port made anew has MAC %s, want %s", got, mac)
	}
	if got := address(tap); got != derived {
		t.Errorf("%s made anew has MAC %s, had %s", tap, got, derived)
	}
	answers("made anew")
}
