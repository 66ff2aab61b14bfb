//go:build lab

package kernel_test

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"dpifd/internal/checkpoint"
	"dpifd/internal/clock"
	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
	"dpifd/internal/rundir"

	"golang.org/x/sys/unix"
)

// access returns ports in access VLANs of their own: 10, 20 and so on.
func (n *network) access(names ...string) string {
	var list []string
	for i, name := range names {
		list = append(list, fmt.Sprintf("{name: %s, vlan: {access: %d}}", name, 10*(i+1)))
	}
	return "[" + strings.Join(list, ", ") + "]"
}

// isolated checks that no frame crosses between the access ports of VLANs 10 and 20, neither
// untagged nor with the tag of the other VLAN.
func isolated(t *testing.T, what string, p []*lab.Packet) {
	t.Helper()
	for i, f := range [][]byte{
		frame(t, broadcast, "02:51:00:00:00:01"),
		tagged(t, 20, broadcast, "02:51:00:00:00:02"),
		tagged(t, 10, broadcast, "02:51:00:00:00:03"),
	} {
		send(t, p[0], f)
		if seen(t, p[1], f) {
			t.Errorf("%s: frame %d crosses from VLAN 10 to VLAN 20", what, i)
		}
	}
}

// tagged is a frame with a VLAN tag.
func tagged(t *testing.T, vlan uint16, dst, src string) []byte {
	t.Helper()
	f := frame(t, dst, src)
	tag := []byte{0x81, 0, byte(vlan >> 8), byte(vlan)}
	return slices.Concat(f[:12], tag, f[12:])
}

// seen waits briefly and reports whether p has received a frame from the source of f.
func seen(t *testing.T, p *lab.Packet, f []byte) bool {
	t.Helper()
	received := func() bool {
		return p.Count(t, func(got []byte) bool { return len(got) >= 12 && bytes.Equal(got[6:12], f[6:12]) }) > 0
	}
	for limit := lab.Within(300 * time.Millisecond); !limit.Passed(); time.Sleep(20 * time.Millisecond) {
		if received() {
			return true
		}
	}
	return received()
}

// TestAltname: the configuration may name a port by an altname of its device.
func TestAltname(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	alt := lab.Name("enp")
	lab.Need(t, "altnames of devices", func() error {
		_, err := n.sw.Try("ip", "link", "property", "add", "dev", n.hosts[0].port, "altname", alt)
		return err
	})
	ports := n.access(alt, n.hosts[1].port)
	ports = strings.TrimSuffix(ports, "]") + fmt.Sprintf(", {name: %s, vlan: {access: 10}}]", n.hosts[2].port)
	d := n.run(t, settings{"ports": ports})
	if e := d.Events("port_waiting"); len(e) > 0 {
		t.Errorf("a port waits: %v", e)
	}
	p := n.sockets(t)
	isolated(t, "altname", p)
	exchange(t, p[0], p[2]) // both are in VLAN 10
	since := time.Now()
	signal(t, d, unix.SIGUSR2)
	d.Wait(t, since, "ready", nil)
	isolated(t, "altname, after a restart", p)
}

// TestRenamedKeepsSettings: VLAN and upcall limit follow a device through a rename, a restart after
// it, and a reload.
func TestRenamedKeepsSettings(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	name := n.hosts[0].port
	ports := strings.Replace(n.access(name, n.hosts[1].port), "access: 10}", "access: 10}, max_upcalls: 500/s", 1)
	file := lab.WriteConfig(t, n.config(settings{"ports": ports}))
	d := n.sw.StartDaemonFile(t, file)
	d.Wait(t, time.Time{}, "ready", nil)
	p := n.sockets(t)
	renamed := lab.Name("eth")
	since := time.Now()
	n.sw.Run(t, "ip", "link", "set", name, "down")
	n.sw.Run(t, "ip", "link", "set", name, "name", renamed)
	n.sw.Run(t, "ip", "link", "set", renamed, "up")
	d.Wait(t, since, "port_renamed", nil)
	check := func(what string) {
		t.Helper()
		isolated(t, what, p)
		since := time.Now()
		signal(t, d, unix.SIGUSR1)
		e := d.Wait(t, since, "state_port", func(e lab.Event) bool { return e.Text("port") == renamed })
		if e.Int(t, "max_upcalls") != 500 {
			t.Errorf("%s: max_upcalls %d, want 500", what, e.Int(t, "max_upcalls"))
		}
		if e := d.Events("port_waiting"); len(e) > 0 {
			t.Errorf("%s: a port waits: %v", what, e)
		}
	}
	check("renamed")
	since = time.Now()
	signal(t, d, unix.SIGHUP)
	d.Wait(t, since, "reloaded", nil)
	check("after a reload")
	since = time.Now()
	signal(t, d, unix.SIGUSR2)
	d.Wait(t, since, "ready", nil)
	check("after a restart")
	// A new device with the former name of the port is a different device, without an entry.
	stray := lab.Name("stray")
	n.sw.Run(t, "ip", "link", "add", name, "type", "veth", "peer", "name", stray)
	n.sw.Run(t, "ip", "link", "set", name, "up")
	n.sw.Run(t, "ip", "link", "set", stray, "up")
	since = time.Now()
	n.sw.DPCtl(t, "add-if", n.dpName, name)
	if e := d.Wait(t, since, "port_unlisted", nil); e.Text("port") != name {
		t.Errorf("port_unlisted: %v", e.Fields)
	}
	q := n.sw.OpenPacket(t, stray)
	hello := tagged(t, 20, broadcast, "02:51:00:00:00:09")
	send(t, q, hello)
	if seen(t, p[1], hello) || seen(t, p[0], hello) {
		t.Error("a port without an entry carries traffic")
	}
}

// checkpointed waits until the daemon has written its state file, which it does once a second.
func (n *network) checkpointed(t *testing.T) {
	t.Helper()
	since := clock.NowMS()
	eventually(t, waitLimit, "the state file is written", func() bool {
		files, err := filepath.Glob(filepath.Join(rundir.Path, n.dpName+".*.state"))
		if err != nil || len(files) == 0 {
			return false
		}
		c, err := checkpoint.Load(rundir.Path, filepath.Base(files[0]))
		if err != nil {
			t.Fatal(err)
		}
		return c != nil && c.AtMS > since
	})
}

// TestRemovedWhileDown: a port that was removed from the configuration while no daemon ran is
// detached at start; one that another program attached meanwhile carries no traffic.
func TestRemovedWhileDown(t *testing.T) {
	t.Parallel()
	for _, how := range []unix.Signal{unix.SIGTERM, unix.SIGKILL} {
		t.Run(how.String(), func(t *testing.T) {
			t.Parallel()
			n := newQuietNetwork(t, 3)
			d := n.sw.StartDaemonFile(t,
				lab.WriteConfig(t, n.config(settings{"ports": n.access(n.hosts[0].port, n.hosts[1].port)})))
			d.Wait(t, time.Time{}, "ready", nil)
			p := n.sockets(t)
			isolated(t, "before", p)
			n.checkpointed(t)
			signal(t, d, how)
			d.WaitExit(t)
			n.sw.DPCtl(t, "add-if", n.dpName, n.hosts[2].port)
			d = n.run(t, settings{"ports": n.access(n.hosts[0].port)})
			v := n.view(t)
			for _, vp := range v.vports(t) {
				if vp.Name == n.hosts[1].port {
					t.Errorf("%s stays in the datapath", vp.Name)
				}
			}
			e := d.Wait(t, time.Time{}, "port_unlisted", func(e lab.Event) bool { return e.Text("port") == n.hosts[2].port })
			if e.Level != "WARN" {
				t.Errorf("level %s", e.Level)
			}
			isolated(t, "removed", p)
			isolated(t, "unlisted", []*lab.Packet{p[2], p[0]})
		})
	}
}

// TestNumberReused: a device that got the port number of another while no daemon ran inherits
// neither its MACs nor its settings.
func TestNumberReused(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	a, b, c := n.hosts[0].port, n.hosts[1].port, n.hosts[2].port
	ports := func(name string) settings {
		return settings{"ports": fmt.Sprintf("[{name: %s, vlan: {access: 10}}, {name: %s, vlan: {access: 10}}]", name, b)}
	}
	d := n.run(t, ports(a))
	p := n.sockets(t)
	const mac = "02:51:00:00:00:77"
	f := frame(t, broadcast, mac)
	send(t, p[0], f)
	p[1].Expect(t, waitLimit, among(f))
	no := n.view(t).portNo(t, a)
	stop(t, d)
	n.sw.DPCtl(t, "del-if", n.dpName, a)
	n.sw.DPCtl(t, "add-if", n.dpName, fmt.Sprintf("%s,port_no=%d", c, no))

	// Its entry puts it in the same VLAN, but learned MACs are not kept.
	d = n.run(t, ports(c))
	if got := n.view(t).portNo(t, c); got != no {
		t.Fatalf("%s has number %d, want %d", c, got, no)
	}
	for _, m := range ask[[]endpoint.MAC](t, n, "dump-macs", n.dpName) {
		if m.MAC == mac {
			t.Errorf("the MAC of another device is known: %+v", m)
		}
	}
	f = frame(t, broadcast, "02:51:00:00:00:78")
	send(t, p[2], f)
	p[1].Expect(t, waitLimit, among(f))
	stop(t, d)
	n.sw.DPCtl(t, "del-if", n.dpName, c)
	n.sw.DPCtl(t, "add-if", n.dpName, fmt.Sprintf("%s,port_no=%d", a, no))

	// Without an entry it carries no traffic.
	d = n.run(t, settings{"ports": n.access(b)})
	d.Wait(t, time.Time{}, "port_unlisted", func(e lab.Event) bool { return e.Text("port") == a })
	isolated(t, "without an entry", []*lab.Packet{p[0], p[1]})
	stop(t, d)
}

// TestInternalMoved: internal ports that move to other namespaces and get the same name there keep
// their identity; a device with that name in the switch's namespace is a different one.
func TestInternalMoved(t *testing.T) {
	t.Parallel()
	needIfindex(t)
	n := newQuietNetwork(t, 0)
	a, b, up := lab.Name("tap"), lab.Name("tap"), lab.Name("up")
	n.sw.Run(t, "ip", "link", "add", up, "type", "veth", "peer", "name", lab.Name("peer"))
	ports := fmt.Sprintf("[{name: %s, type: internal, vlan: {access: 10}}, "+
		"{name: %s, type: internal, vlan: {access: 20}}, {name: %s}]", a, b, up)
	d := n.run(t, settings{"ports": ports})
	var p []*lab.Packet
	for _, tap := range []string{a, b} {
		ns := lab.NewNetNS(t, "pod")
		noIPv6(t, ns)
		n.sw.Run(t, "ip", "link", "set", tap, "netns", ns.Name)
		ns.Run(t, "ip", "link", "set", tap, "name", "eth0")
		ns.Run(t, "ip", "link", "set", "eth0", "up")
		p = append(p, ns.OpenPacket(t, "eth0"))
	}
	n.sw.Run(t, "ip", "link", "add", "eth0", "type", "veth", "peer", "name", lab.Name("peer"))
	isolated(t, "moved", p)
	since := time.Now()
	n.sw.DPCtl(t, "del-if", n.dpName, up) // a change of the datapath; the port is attached again
	d.Wait(t, since, "port_added", nil)
	isolated(t, "after a change", p)
	since = time.Now()
	signal(t, d, unix.SIGUSR2)
	d.Wait(t, since, "ready", nil)
	isolated(t, "after a restart", p)
	internals := 0
	for _, e := range d.Events("port_added") {
		if e.Text("type") == "internal" && e.Text("created") == "true" {
			internals++
		}
	}
	if out, err := n.sw.Try("ip", "link", "show", a); err == nil || internals != 2 {
		t.Errorf("a port was created twice (%d internal ports): %s", internals, out)
	}
	if e := d.Events("port_setup_failed"); len(e) > 0 {
		t.Errorf("port_setup_failed: %v", e)
	}
}

// TestNamespaceGone: an internal port whose namespace is deleted is created again. A device with
// its name in the switch's namespace is not touched meanwhile.
func TestNamespaceGone(t *testing.T) {
	t.Parallel()
	needIfindex(t)
	n := newQuietNetwork(t, 1)
	tap := lab.Name("tap")
	n.run(t, settings{"ports": fmt.Sprintf("[{name: %s}, "+
		"{name: %s, type: internal, address: [10.99.0.1/24], up: true, mtu: 1300}]", n.hosts[0].port, tap)})
	pod := exec.Command("sleep", "1000")
	pod.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := pod.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = pod.Process.Kill(); _ = pod.Wait() }()
	n.sw.Run(t, "ip", "link", "set", tap, "netns", fmt.Sprint(pod.Process.Pid))
	n.sw.Run(t, "ip", "link", "add", tap, "type", "dummy")
	n.sw.DPCtl(t, "show", n.dpName) // a change of the datapath
	time.Sleep(2 * time.Second)
	if out := n.sw.Run(t, "ip", "address", "show", "dev", tap); strings.Contains(out, "10.99.0.1") ||
		strings.Contains(out, "mtu 1300") || strings.Contains(out, ",UP") {
		t.Errorf("a device that is not the port's was changed: %s", out)
	}
	n.sw.Run(t, "ip", "link", "delete", tap)
	if err := pod.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, 20*time.Second, "the port is recreated", func() bool {
		out, err := n.sw.Try("ip", "address", "show", "dev", tap)
		return err == nil && strings.Contains(out, "10.99.0.1") && strings.Contains(out, "mtu 1300")
	})
}
