//go:build lab

package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// forPort returns a predicate for events about a port.
func forPort(name string) func(lab.Event) bool {
	return func(e lab.Event) bool { return e.Text("port") == name }
}

// exchange checks that a broadcast arrives in both directions between two sockets.
func exchange(t *testing.T, a, b *lab.Packet) {
	t.Helper()
	there, back := frame(t, broadcast, "02:ec:0a:00:00:01"), frame(t, broadcast, "02:ec:0b:00:00:02")
	send(t, a, there)
	b.Expect(t, waitLimit, among(there))
	send(t, b, back)
	a.Expect(t, waitLimit, among(back))
}

// TestPortsComeAndGo: ports are added and removed by another program, and removed because their
// device is deleted.
func TestPortsComeAndGo(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	late := n.hosts[2]
	n.hosts = n.hosts[:2]
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	q := late.OpenPacket(t, "eth0")
	exchange(t, p[0], p[1])

	since := time.Now()
	n.sw.DPCtl(t, "add-if", n.dpName, late.port)
	e := d.Wait(t, since, "port_added", forPort(late.port))
	if got, want := e.Text("created"), "false"; got != want {
		t.Errorf("port_added: created %s, want %s", got, want)
	}
	if !perCPU {
		d.Wait(t, since, "transport_selected", forPort(late.port))
	}
	no := e.Text("port_no")
	if got := v.portNo(t, late.port).String(); got != no {
		t.Errorf("port_added: port_no %s, the kernel's is %s", no, got)
	}
	exchange(t, q, p[0])
	// Flows that flood, installed before the port came, are extended to it.
	eventually(t, waitLimit, "floods reach the new port", func() bool {
		f := frame(t, broadcast, "02:ec:0b:00:00:02")
		send(t, p[1], f)
		p[0].Expect(t, waitLimit, among(f))
		return q.Count(t, among(f)) == 1
	})

	since = time.Now()
	n.sw.DPCtl(t, "del-if", n.dpName, late.port)
	e = d.Wait(t, since, "port_removed", forPort(late.port))
	if e.Text("port_no") != no || e.Int(t, "upcalls") < 1 || e.Int(t, "lost") != 0 {
		t.Errorf("port_removed: %v, want port_no %s, upcalls, none lost", e.Fields, no)
	}
	exchange(t, p[0], p[1])

	// A configured port whose device is deleted waits, and is attached again when the device returns.
	gone := n.hosts[1]
	since = time.Now()
	n.sw.DeleteLink(t, gone.port)
	d.Wait(t, since, "port_removed", forPort(gone.port))
	d.Wait(t, since, "port_waiting", forPort(gone.port))
	since = time.Now()
	lab.Veth(t, lab.End{NS: n.sw, Name: gone.port}, lab.End{NS: gone.NetNS, Name: "eth0", MAC: gone.mac})
	e = d.Wait(t, since, "port_added", forPort(gone.port))
	if got := e.Text("created"); got != "true" {
		t.Errorf("port_added after the device is back: created %s, want true", got)
	}
	// Existing flows are changed soon after the event.
	first := v.portNo(t, n.hosts[0].port)
	eventually(t, waitLimit, "floods from the first port reach it", func() bool {
		for f := range v.flows(t) {
			if f.inPort == first && !slices.Contains(strings.Split(f.actions, ","), e.Text("port_no")) {
				return false
			}
		}
		return true
	})
	exchange(t, p[0], gone.OpenPacket(t, "eth0"))
	stop(t, d)
	if got := d.Events("port_failed"); len(got) != 0 {
		t.Errorf("port_failed: %v", got)
	}
}

// TestWaitingPort: a configured port whose device does not exist waits for it.
func TestWaitingPort(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 1)
	const late = "late-port.9"
	ports := fmt.Sprintf("[{name: %s}, {name: %s}, {name: int-late, type: internal}]", late, n.hosts[0].port)
	d := n.sw.StartDaemon(t, n.config(settings{"ports": ports}))
	ready := d.Wait(t, time.Time{}, "ready", nil)
	if ready.Text("ports_waiting") != "1" || ready.Text("ports") != "3" {
		t.Errorf("ready: %v, want 3 ports and 1 waiting", ready.Fields)
	}
	d.Wait(t, time.Time{}, "port_waiting", forPort(late))
	h := lab.NewNetNS(t, "host")
	noIPv6(t, h)
	lab.Veth(t, lab.End{NS: n.sw, Name: late}, lab.End{NS: h, Name: "eth0"})
	if e := d.Wait(t, ready.Time, "port_added", forPort(late)); e.Text("created") != "true" || e.Text("type") != "netdev" {
		t.Errorf("port_added: %v, want created true and type netdev", e.Fields)
	}
	exchange(t, n.hosts[0].OpenPacket(t, "eth0"), h.OpenPacket(t, "eth0"))
	stop(t, d)
	if got := len(d.Events("port_waiting")); got != 1 {
		t.Errorf("%d events port_waiting, want 1", got)
	}
}

// TestPortOfOtherDatapath: a device of another datapath is reported, and attached when it is free.
func TestPortOfOtherDatapath(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 1)
	port := n.hosts[0].port
	n.sw.DPCtl(t, "add-dp", "owner")
	n.sw.DPCtl(t, "add-if", "owner", port)
	d := n.run(t, nil)
	d.Wait(t, time.Time{}, "port_waiting", forPort(port))
	since := time.Now()
	n.sw.DPCtl(t, "del-if", "owner", port)
	d.Wait(t, since, "port_added", forPort(port))
	stop(t, d)
}
