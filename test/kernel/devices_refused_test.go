//go:build lab

package kernel_test

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"dpifd/internal/lab"
)

// TestUnusableDevices: devices that cannot be ports of the switch wait, and the log gives the reason.
func TestUnusableDevices(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	tun, taken, bridged := lab.Name("tun"), lab.Name("taken"), lab.Name("bridged")
	bridge := lab.Name("bridge")
	n.sw.Run(t, "ip", "link", "add", bridge, "type", "bridge")
	n.sw.Run(t, "ip", "link", "add", bridged, "type", "dummy")
	n.sw.Run(t, "ip", "link", "set", bridged, "master", bridge)
	n.sw.Run(t, "ip", "tuntap", "add", "mode", "tun", tun)
	n.sw.Run(t, "ip", "link", "add", taken, "type", "dummy")
	other := lab.Name("other")
	n.sw.DPCtl(t, "add-dp", other)
	n.sw.DPCtl(t, "add-if", other, taken)
	n.sw.Run(t, "ip", "address", "add", "192.0.2.77/24", "dev", n.hosts[1].port)
	ports := fmt.Sprintf("[{name: %s}, {name: %s}, {name: %s}, {name: %s}, {name: %s}]",
		n.hosts[0].port, n.hosts[1].port, tun, taken, bridged)
	d := n.sw.StartDaemon(t, n.config(settings{"ports": ports}))
	if e := d.Wait(t, time.Time{}, "ready", nil); e.Text("ports_waiting") != "3" {
		t.Errorf("ready: %v, want 3 ports to wait", e.Fields)
	}
	for port, want := range map[string]string{tun: "no Ethernet", taken: "port of datapath " + other,
		bridged: "belongs to bridge " + bridge} {
		if e := d.Wait(t, time.Time{}, "port_waiting", forPort(port)); !strings.Contains(e.Text("error"), want) {
			t.Errorf("%s waits: %q, want %q", port, e.Text("error"), want)
		}
	}
	e := d.Wait(t, time.Time{}, "port_has_addresses", nil)
	if e.Text("port") != n.hosts[1].port || !strings.Contains(fmt.Sprint(e.Fields["addresses"]), "192.0.2.77") {
		t.Errorf("port_has_addresses: %v", e.Fields)
	}
	// The daemon retries without a notification about this datapath.
	since := time.Now()
	n.sw.DPCtl(t, "del-if", other, taken)
	d.Wait(t, since, "port_added", forPort(taken))
	since = time.Now()
	n.sw.Run(t, "ip", "link", "set", bridged, "nomaster")
	d.Wait(t, since, "port_added", forPort(bridged))
}

// TestUDPBusy: a tunnel whose UDP port is bound by a program waits, and is attached after the
// program has closed its socket. The kernel does not notify of that.
func TestUDPBusy(t *testing.T) {
	t.Parallel()
	needTunnel(t, "geneve", false)
	n := newQuietNetwork(t, 1)
	var held net.PacketConn
	err := n.sw.Do(func() (err error) {
		held, err = net.ListenPacket("udp4", "0.0.0.0:6089")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer held.Close()
	d := n.sw.StartDaemon(t,
		n.config(settings{"ports": list("{name: "+n.hosts[0].port+"}",
			tunnel("gnv", "geneve", "remote: 192.0.2.1, dst_port: 6089"))}))
	d.Wait(t, time.Time{}, "ready", nil)
	d.Wait(t, time.Time{}, "port_waiting", nil)
	since := time.Now()
	held.Close()
	d.Wait(t, since, "port_added", forPort("genev_sys_6089"))
	stop(t, d)
}

// TestLocalPortMAC: the local port keeps its MAC when the datapath is recreated, with or without an
// entry.
func TestLocalPortMAC(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 1)
	d := n.run(t, settings{"datapath": "{name: " + n.dpName + ", create: true}"})
	address := func() string {
		_, rest, _ := strings.Cut(n.sw.Run(t, "ip", "-o", "link", "show", "dev", n.dpName), "link/ether ")
		mac, _, _ := strings.Cut(rest, " ")
		return mac
	}
	before := address()
	since := time.Now()
	n.sw.DPCtl(t, "del-dp", n.dpName)
	d.Wait(t, since, "port_added", nil)
	if got := address(); got != before || got == "" {
		t.Errorf("the recreated local port has MAC %q, had %q", got, before)
	}
}

// TestSetUpElsewhere: an internal port that moved to a named namespace is set up there. If its
// namespace cannot be entered, the log says so once.
func TestSetUpElsewhere(t *testing.T) {
	t.Parallel()
	needIfindex(t)
	n := newQuietNetwork(t, 1)
	tap, hidden := lab.Name("tap"), lab.Name("hidden")
	ports := func(mtu int) settings {
		return settings{"ports": fmt.Sprintf("[{name: %s}, "+
			"{name: %s, type: internal, address: [10.98.0.1/24], up: true, mtu: %d}, "+
			"{name: %s, type: internal, mtu: %[3]d}]",
			n.hosts[0].port, tap, mtu, hidden)}
	}
	d := n.run(t, ports(1300))
	pod := lab.NewNetNS(t, "pod")
	n.sw.Run(t, "ip", "link", "set", tap, "netns", pod.Name)
	shows(t, pod, tap, "mtu 1300", "UP")
	eventually(t, waitLimit, "its address in the namespace", func() bool {
		return strings.Contains(pod.Run(t, "ip", "address", "show", "dev", tap), "10.98.0.1/24")
	})
	process := exec.Command("sleep", "1000")
	process.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = process.Process.Kill(); _ = process.Wait() }()
	since := time.Now()
	n.sw.Run(t, "ip", "link", "set", hidden, "netns", fmt.Sprint(process.Process.Pid))
	d.Wait(t, since, "port_elsewhere", forPort(hidden))
	for mtu := 1301; mtu < 1304; mtu++ {
		reload(t, d, n.config(ports(mtu)))
		shows(t, pod, tap, fmt.Sprintf("mtu %d", mtu))
	}
	if got := d.Events("port_elsewhere"); len(got) != 1 {
		t.Errorf("port_elsewhere: %v, want one", got)
	}
	if got := d.Events("port_setup_failed"); len(got) > 0 {
		t.Errorf("port_setup_failed: %v", got)
	}
	stop(t, d)
}

// TestStableMAC: internal ports and the local port keep MAC, address and state when the datapath is
// recreated, and neighbours reach them at once.
func TestStableMAC(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 1, 0)
	h := n.hosts[0]
	tap := lab.Name("tap")
	ip := func(last int) string { return h.ip4[:strings.LastIndexByte(h.ip4, '.')+1] + fmt.Sprint(last) }
	const mac = "02:00:5e:77:77:01"
	setIPv6(t, n.sw, true)
	d := n.run(t, settings{
		"datapath": "{name: " + n.dpName + ", create: true}",
		"ports": fmt.Sprintf("[{name: %s}, "+
			"{name: %s, type: internal, address: [%s/24], up: true, mac: %q}, "+
			"{name: %s, type: internal, address: [%s/24, 'fd00:99::1/64'], up: true}]",
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
	p := h.OpenPacket(t, "eth0")
	since := time.Now()
	n.sw.DPCtl(t, "del-dp", n.dpName)
	announced := map[string]bool{}
	p.Expect(t, waitLimit, func(f []byte) bool {
		// ARP packets with the same address as sender and target.
		if len(f) >= 42 && f[12] == 8 && f[13] == 6 && bytes.Equal(f[28:32], f[38:42]) {
			from, _ := netip.AddrFromSlice(f[28:32])
			announced[net.HardwareAddr(f[6:12]).String()+" "+from.String()] = true
		}
		// Neighbour advertisements to all nodes, RFC 4861.
		if len(f) >= 78 && f[12] == 0x86 && f[13] == 0xdd && f[20] == unix.IPPROTO_ICMPV6 && f[54] == 136 &&
			bytes.Equal(f[:6], []byte{0x33, 0x33, 0, 0, 0, 1}) {
			target, _ := netip.AddrFromSlice(f[62:78])
			announced[net.HardwareAddr(f[6:12]).String()+" "+target.String()] = true
		}
		return announced[mac+" "+ip(200)] && announced[derived+" "+ip(201)] && announced[derived+" fd00:99::1"]
	})
	d.Wait(t, since, "port_added", forPort(tap))
	eventually(t, waitLimit, "the devices to be set up", func() bool {
		a, err1 := n.sw.Try("ip", "address", "show", "dev", n.dpName)
		b, err2 := n.sw.Try("ip", "address", "show", "dev", tap)
		return err1 == nil && err2 == nil && strings.Contains(a, ip(200)) && strings.Contains(b, ip(201))
	})
	if got := address(n.dpName); got != mac {
		t.Errorf("the recreated local port has MAC %s, want %s", got, mac)
	}
	if got := address(tap); got != derived {
		t.Errorf("recreated %s has MAC %s, had %s", tap, got, derived)
	}
	answers("recreated")
}
