//go:build lab

package kernel_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/inspect"
	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"syscall"
)

// dpifd runs the program under test in the namespace and returns its output.
func dpifd(t *testing.T, ns *lab.NetNS, args ...string) string {
	t.Helper()
	return ns.Run(t, lab.DaemonPath(t), args...)
}

// wantFailure runs the program under test, which must exit with code and print what.
func wantFailure(t *testing.T, ns *lab.NetNS, code int, what string, args ...string) {
	t.Helper()
	out, err := ns.Try(lab.DaemonPath(t), args...)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(out, what) {
		t.Errorf("dpifd %s: %v\nwant exit code %d and %q", strings.Join(args, " "), err, code, what)
	}
}

// showJSON returns `dpifd show -o json`.
func showJSON(t *testing.T, ns *lab.NetNS, args ...string) (list []inspect.Datapath) {
	t.Helper()
	out := dpifd(t, ns, append([]string{"show", "-o", "json"}, args...)...)
	if err := json.Unmarshal([]byte(out), &list); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	return list
}

// TestShowOfDaemon shows what a running daemon has, with either dispatch, and checks that this
// changes nothing.
func TestShowOfDaemon(t *testing.T) {
	t.Parallel()
	t.Run("per-vport", func(t *testing.T) {
		showOfDaemon(t, "per-vport", []string{"vport_pids"},
			func(d inspect.Datapath, ports map[string]dpif.Vport) (sockets []inspect.Socket, lines []string) {
				for _, p := range d.Ports {
					if len(p.Sockets) != 1 || p.Sockets[0].PID != ports[p.Name].UpcallPIDs[0] {
						t.Fatalf("port %+v, kernel %+v", p, ports[p.Name])
					}
					sockets, lines = append(sockets, p.Sockets[0]), append(lines, "    upcalls: ")
				}
				return sockets, lines
			})
	})
	t.Run("per-cpu", func(t *testing.T) {
		needPerCPU(t)
		showOfDaemon(t, "per-cpu", []string{"vport_pids", "dispatch_upcall_per_cpu"},
			func(d inspect.Datapath, _ map[string]dpif.Vport) (sockets []inspect.Socket, lines []string) {
				if len(d.PerCPU) == 0 {
					t.Fatalf("no sockets by CPU: %+v", d)
				}
				for cpu, s := range d.PerCPU {
					sockets, lines = append(sockets, s), append(lines, fmt.Sprintf("  upcalls of CPU %d: ", cpu))
				}
				return sockets, lines
			})
	})
}

// showOfDaemon compares the output for a daemon with the kernel's state. features are the expected
// ones in addition to unaligned, which rings exclude. upcalls returns the upcall sockets in the output,
// and the beginnings of the lines of text about them.
func showOfDaemon(t *testing.T, dispatch string, features []string,
	upcalls func(inspect.Datapath, map[string]dpif.Vport) ([]inspect.Socket, []string)) {
	n := newNetwork(t, 2, 0)
	d := n.run(t, settings{"dispatch": dispatch, "flows": "{max_idle: 10m}"})
	ping(t, n.hosts[0].NetNS, n.hosts[1].ip4, 3, 56)
	v, w := n.view(t), newWatcher(t, n.sw, n.dpName)
	var info dpif.DatapathInfo
	var list []inspect.Datapath
	var text string
	w.unchanged("dpifd show", func() {
		// Hosts with addresses send packets by themselves, and so create flows.
		eventually(t, waitLimit, "no flow comes while dpifd show runs", func() bool {
			info = v.info(t)
			list = showJSON(t, n.sw)
			return v.info(t).Stats.Masks == info.Stats.Masks
		})
		text = dpifd(t, n.sw, "show", n.dpName, "-s")
		dpifd(t, n.sw, "dump-flows", "-m")
	})
	if len(list) != 1 || list[0].Name != n.dpName || len(list[0].Ports) != 3 {
		t.Fatalf("show -o json: %+v", list)
	}
	if !hasRings() {
		features = append([]string{"unaligned"}, features...)
	}
	if diff := cmp.Diff(features, list[0].Features); diff != "" {
		t.Errorf("features (-want +got):\n%s", diff)
	}
	if s := list[0].Stats; s.Hit == 0 || s.Missed == 0 || s.CacheSize != info.Stats.CacheSize ||
		s.Masks != info.Stats.Masks {
		t.Errorf("stats %+v, kernel %+v", s, info.Stats)
	}
	ports := v.vports(t)
	shown, kernels := map[string]uint32{}, map[string]uint32{}
	for _, p := range list[0].Ports {
		shown[p.Name], kernels[p.Name] = p.Ifindex, ports[p.Name].Ifindex
	}
	if diff := cmp.Diff(kernels, shown); diff != "" {
		t.Errorf("ifindexes of ports (-kernel +show):\n%s", diff)
	}
	sockets, lines := upcalls(list[0], ports)
	for i, s := range sockets {
		owner := inspect.Process{ID: d.PID(), Name: "dpifd"}
		want := inspect.Socket{PID: s.PID, Found: true, Owners: []inspect.Process{owner}, Ring: s.Ring}
		if diff := cmp.Diff(want, s); diff != "" {
			t.Errorf("upcall socket (-want +got):\n%s", diff)
		}
		line := fmt.Sprintf("%spid:%d queued:0 drops:0 owner:%v\n", lines[i], s.PID, owner)
		if !strings.Contains(text, line) {
			t.Errorf("show -s lacks %q:\n%s", line, text)
		}
	}
	if e := d.Events("features_restored"); len(e) != 0 {
		t.Errorf("features were changed: %v", e)
	}
	// From another namespace, by name.
	if far := showJSON(t, n.hosts[0].NetNS, "--netns", n.sw.Name); len(far) != 1 || far[0].Name != n.dpName {
		t.Errorf("show --netns: %+v", far)
	}
	wantFailure(t, n.sw, 1, "open datapath dp-none: ", "show", "dp-none")
	wantFailure(t, n.sw, 1, `network namespace "none"`, "show", "--netns", "none")
	stop(t, d)
}

// TestShowQueue shows an upcall socket, without a ring, that nobody reads.
func TestShowQueue(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 1)
	d := n.run(t, settings{"dispatch": "per-vport", "socket": "{rcvbuf: 64KiB}", "ring": "{mode: 'off'}"})
	port := n.sockets(t)[0]
	socket := func() inspect.Socket {
		for _, p := range showJSON(t, n.sw, n.dpName)[0].Ports {
			if p.Name == n.hosts[0].port {
				return p.Sockets[0]
			}
		}
		t.Fatal("the port is gone")
		return inspect.Socket{}
	}
	freeze(t, d, func() {
		send(t, port, frame(t, broadcast, "02:00:00:00:51:01"))
		eventually(t, waitLimit, "a queue", func() bool { return socket().Queued > 0 })
		eventually(t, waitLimit, "drops", func() bool {
			for i := range 500 {
				send(t, port, numbered(t, i, broadcast))
			}
			return socket().Drops > 0
		})
	})
	eventually(t, waitLimit, "an empty queue", func() bool { return socket().Queued == 0 })
	stop(t, d)
	// Without a daemon no upcall socket has an owner.
	for _, p := range showJSON(t, n.sw, n.dpName)[0].Ports {
		if len(p.Sockets) != 1 || p.Sockets[0].PID != 0 || p.Sockets[0].Found {
			t.Errorf("port %s after the daemon's exit: %+v", p.Name, p.Sockets)
		}
	}
	if text := dpifd(t, n.sw, "show"); !strings.Contains(text, "upcalls: pid:0, no listener") {
		t.Errorf("show:\n%s", text)
	}
}

var (
	// theirCounters are counters that ovs-dpctl does not read from the datapath.
	theirCounters = regexp.MustCompile(` (overruns|frame|aborted|carrier):\S+|(?m:^    collisions:\S+\n)`)
	// ourLines are lines that ovs-dpctl does not print. Version 3.1 shows neither cache hits nor
	// the upcalls of a vport, which kernels report since 6.2.
	ourLines = regexp.MustCompile(`(?m:^ +(features|upcalls.*|cache|UPCALL packets):.*\n)`)
)

// byDatapath sorts output by datapath, since the order of ovs-dpctl is random.
func byDatapath(show string) []string {
	list := strings.Split(show, "system@")
	slices.Sort(list)
	return list
}

// TestShowText compares the output with that of ovs-dpctl show -s for several datapaths with ports
// of several types.
func TestShowText(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newNetwork(t, 2, 0)
	n.sw.DPCtl(t, "add-dp", n.dpName)
	n.sw.DPCtl(t, "add-if", n.dpName, n.hosts[0].port, n.hosts[1].port, "int-1,type=internal")
	n.sw.DPCtl(t, "add-dp", "other")
	for _, f := range [][2]string{{"1", "2"}, {"2", "1"}} {
		for _, key := range []string{"eth_type(0x0806),arp()", "eth_type(0x0800),ipv4(frag=no)",
			"eth_type(0x86dd),ipv6(frag=no)"} {
			n.sw.DPCtl(t, "add-flow", n.dpName, "in_port("+f[0]+"),eth(),"+key, f[1])
		}
	}
	ping(t, n.hosts[0].NetNS, n.hosts[1].ip4, 3, 1400)
	stream(t, n.hosts[0].NetNS, n.hosts[1].NetNS, n.hosts[1].ip4, 2<<20)
	for _, h := range n.hosts {
		h.SetLink(t, "eth0", false)
	}
	for _, args := range [][]string{{"show"}, {"show", n.dpName}, {"show", "-s"}} {
		ours := ourLines.ReplaceAllString(dpifd(t, n.sw, args...), "")
		theirs := theirCounters.ReplaceAllString(n.sw.DPCtl(t, args...), "")
		theirs = ourLines.ReplaceAllString(theirs, "")
		if diff := cmp.Diff(byDatapath(theirs), byDatapath(ours)); diff != "" {
			t.Errorf("%s (-ovs-dpctl +dpifd):\n%s", strings.Join(args, " "), diff)
		}
		if len(args) == 2 && args[1] == "-s" && !strings.Contains(ours, " MiB)") {
			t.Errorf("no counter is large enough for MiB:\n%s", ours)
		}
	}
	wantFailure(t, n.sw, 1, "several datapaths, name one: "+n.dpName+", other", "dump-flows")
	wantFailure(t, n.hosts[0].NetNS, 1, "there is no datapath", "dump-flows")
	if out := dpifd(t, n.hosts[0].NetNS, "show"); out != "" {
		t.Errorf("show without a datapath: %q", out)
	}
	if out := dpifd(t, n.hosts[0].NetNS, "show", "-o", "json"); out != "[]\n" {
		t.Errorf("show -o json without a datapath: %q", out)
	}
	if out := dpifd(t, n.sw, "__complete", "dump-flows", ""); !strings.HasPrefix(out, n.dpName+"\nother\n") {
		t.Errorf("completion: %q", out)
	}
}

// TestShowTunnel shows tunnels of both kinds: with a device, and created by the datapath.
func TestShowTunnel(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	needTunnel(t, "vxlan", false)
	needTunnel(t, "geneve", false)
	n := newQuietNetwork(t, 1)
	dp := newDatapath(t, n.sw, n.dpName)
	n.sw.Run(t, "/usr/sbin/ip", "link", "add", "vxlan_sys_4790", "type", "vxlan", "external", "dstport", "4790")
	n.sw.Run(t, "/usr/sbin/ip", "link", "add", "genev_sys_6082", "type", "geneve", "external", "dstport", "6082")
	for _, name := range []string{"vxlan_sys_4790", "genev_sys_6082", n.hosts[0].port} {
		if _, err := dp.AddVport(name, dpif.VportNetdev, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	text := dpifd(t, n.sw, "show")
	for _, want := range []string{
		"  port 1: vxlan_sys_4790 (vxlan: dst_port=4790)\n",
		"  port 2: genev_sys_6082 (geneve: dst_port=6082)\n",
		"  port 3: " + n.hosts[0].port + "\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("show lacks %q:\n%s", want, text)
		}
	}
	// ovs-dpctl prints the same names.
	theirs := n.sw.DPCtl(t, "show", n.dpName)
	for _, want := range []string{"  port 1: vxlan_sys_4790 (vxlan", "  port 2: genev_sys_6082 (geneve"} {
		if !strings.Contains(theirs, want) {
			t.Errorf("ovs-dpctl show lacks %q:\n%s", want, theirs)
		}
	}
	if p := showJSON(t, n.sw)[0].Ports[3]; p.Device != "veth" || p.Type != "netdev" || p.DstPort != 0 {
		t.Errorf("port %+v", p)
	}
}

// TestReadWithoutPrivilege reads as a user without capabilities.
func TestReadWithoutPrivilege(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 1)
	newDatapath(t, n.sw, n.dpName)
	for _, args := range [][]string{{"show", "-s"}, {"dump-flows"}} {
		cmd := exec.Command(lab.DaemonPath(t), args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
		var out []byte
		err := n.sw.Do(func() (err error) { out, err = cmd.CombinedOutput(); return err })
		if err != nil || args[0] == "show" && !strings.Contains(string(out), n.dpName) {
			t.Errorf("%v as nobody: %v\n%s", args, err, out)
		}
	}
}
