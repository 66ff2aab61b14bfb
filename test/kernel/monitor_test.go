//go:build lab

package kernel_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// startMonitor starts `dpifd monitor` and waits until it listens.
func startMonitor(t *testing.T, ns *lab.NetNS, args ...string) *lab.Process {
	t.Helper()
	m := ns.Start(t, lab.DaemonPath(t), append([]string{"monitor"}, args...)...)
	m.WaitLine(t, waitLimit, func(line string) bool { return strings.HasPrefix(line, "listening to ") })
	return m
}

// ended waits until a monitor exits after the requested number of events, and returns its lines.
func ended(t *testing.T, m *lab.Process) []string {
	t.Helper()
	if code := m.WaitExit(t); code != 0 {
		t.Fatalf("exit code %d:\n%s", code, m.Output())
	}
	var lines []string
	for line := range strings.Lines(m.Output()) {
		if _, text, isEvent := strings.Cut(strings.TrimSuffix(line, "\n"), "Z "); isEvent {
			lines = append(lines, text)
		}
	}
	return lines
}

// TestMonitorVport watches what ovs-dpctl changes in a datapath.
func TestMonitorVport(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 2)
	newDatapath(t, n.sw, "before")
	flipped := needFlip(t, dpif.FeatureUnaligned|dpif.FeatureVportPIDs)
	w := newWatcher(t, n.sw, "before")
	var m, one *lab.Process
	w.unchanged("dpifd monitor", func() {
		m = startMonitor(t, n.sw, "vport", "--count", "8")
		one = startMonitor(t, n.sw, "vport", n.dpName, "--filter", "int-*", "--count", "2", "-o", "json")
	})
	dp := newDatapath(t, n.sw, n.dpName)
	a, err := dp.AddVport(n.hosts[0].port, dpif.VportNetdev, 0, 4711)
	if err != nil {
		t.Fatal(err)
	}
	if err := dp.SetUpcallPID(a.No, 815); err != nil {
		t.Fatal(err)
	}
	if _, err := dp.AddVport("int-1", dpif.VportInternal, 7, 0); err != nil {
		t.Fatal(err)
	}
	n.sw.DPCtl(t, "show", n.dpName) // which changes the features
	if err := dp.DeleteVport(7); err != nil {
		t.Fatal(err)
	}
	if err := dp.DeleteVport(a.No); err != nil {
		t.Fatal(err)
	}
	if err := dp.Delete(); err != nil {
		t.Fatal(err)
	}
	set := setVerb(t)
	want := []string{
		fmt.Sprintf("datapath new %s features:unaligned,vport_pids", n.dpName),
		fmt.Sprintf("vport new %s port:1 %s type:netdev upcall_pids:[4711]", n.dpName, a.Name),
		fmt.Sprintf("vport %s %s port:1 %s type:netdev upcall_pids:[815]", set, n.dpName, a.Name),
		fmt.Sprintf("vport new %s port:7 int-1 type:internal upcall_pids:[0]", n.dpName),
		fmt.Sprintf("datapath %s %s features:%s", set, n.dpName, flipped),
		fmt.Sprintf("vport del %s port:7 int-1 type:internal upcall_pids:[0]", n.dpName),
		fmt.Sprintf("vport del %s port:1 %s type:netdev upcall_pids:[815]", n.dpName, a.Name),
	}
	got := ended(t, m)
	if diff := cmp.Diff(want, got[:len(got)-1]); diff != "" || !strings.HasPrefix(got[7], "datapath del "+n.dpName) {
		t.Errorf("events (-want +got), then %s:\n%s", got[7], diff)
	}
	type change struct{ Event, Op, Datapath, Vport string }
	var changes []change
	if code := one.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for line := range strings.Lines(one.Output()) {
		var ev struct {
			Event, Op, Datapath string
			Vport               struct{ Name string }
		}
		if json.Unmarshal([]byte(line), &ev) == nil {
			changes = append(changes, change{ev.Event, ev.Op, ev.Datapath, ev.Vport.Name})
		}
	}
	wantChanges := []change{{"vport", "new", n.dpName, "int-1"}, {"vport", "del", n.dpName, "int-1"}}
	if diff := cmp.Diff(wantChanges, changes); diff != "" {
		t.Errorf("filtered events (-want +got):\n%s", diff)
	}
}

// TestMonitorLink watches what iproute2 changes in devices.
func TestMonitorLink(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	ns := lab.NewNetNS(t, "links")
	m := startMonitor(t, ns, "link", "--filter", "wat*")
	for _, args := range []string{
		"link add wat0 type dummy", "link set wat0 mtu 1400", "link set wat0 up", "link set wat0 address 02:00:00:00:77:01",
		"link add wat1 type veth peer name other", "link del wat0", "link del wat1",
	} {
		ns.Run(t, "/usr/sbin/ip", strings.Fields(args)...)
	}
	for _, want := range []string{
		" link new wat0 ifindex:", " kind:dummy mtu:1400 down ", " kind:dummy mtu:1400 up ", " address:02:00:00:00:77:01",
		" link new wat1 ifindex:", " link del wat0 ifindex:", " link del wat1 ifindex:",
	} {
		m.WaitLine(t, waitLimit, func(line string) bool { return strings.Contains(line, want) })
	}
	if strings.Contains(m.Output(), " other ") {
		t.Errorf("a device that the filter excludes:\n%s", m.Output())
	}
	if err := m.Stop(t, unix.SIGINT, waitLimit); err != nil {
		t.Errorf("exit after SIGINT: %v", err)
	}
	if strings.Count(m.Output(), " link new wat0 ") != 1 {
		t.Errorf("more than one event link new of wat0:\n%s", m.Output())
	}
}

// TestMonitorFlow watches flow changes, with and without a filter, and compares them with
// dump-flows.
func TestMonitorFlow(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 2)
	dp := newDatapath(t, n.sw, n.dpName)
	for _, h := range n.hosts {
		if _, err := dp.AddVport(h.port, dpif.VportNetdev, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	port := n.hosts[0].port
	times := flowNotices(t) // per new flow
	all := startMonitor(t, n.sw, "flow", "--names", "--count", fmt.Sprint(3*times+2))
	some := startMonitor(t, n.sw, "flow", n.dpName, "--filter", "in_port("+port+"),eth_type(0x0806)", "--count",
		fmt.Sprint(times+1))
	wantFailure(t, n.sw, 2, "--filter in_port(nobody): 1:9: ", "monitor", "flow", n.dpName, "--filter", "in_port(nobody)")
	keys := []string{"in_port(1),eth(),eth_type(0x0806),arp(op=1)", "in_port(2),eth(),eth_type(0x0806),arp(op=1)",
		"in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0,frag=no)"}
	for _, key := range keys {
		n.sw.DPCtl(t, "add-flow", n.dpName, key, "2")
	}
	dump := strings.Split(strings.TrimSpace(dpifd(t, n.sw, "dump-flows", n.dpName, "--names")), "\n")
	n.sw.DPCtl(t, "mod-flow", n.dpName, keys[2], "1")
	n.sw.DPCtl(t, "del-flow", n.dpName, keys[0])
	got := ended(t, all)
	var installed []string
	for _, line := range got {
		if flow, ok := strings.CutPrefix(line, "flow new "+n.dpName+" "); ok {
			installed = append(installed, flow)
		}
	}
	dump = slices.Repeat(dump, times)
	slices.Sort(dump)
	slices.Sort(installed)
	if diff := cmp.Diff(dump, installed); diff != "" {
		t.Errorf("installed flows (-dump-flows +monitor flow):\n%s", diff)
	}
	changed, deleted := got[len(got)-2], got[len(got)-1]
	if !strings.HasPrefix(changed, "flow "+setVerb(t)+" "+n.dpName) || !strings.HasSuffix(changed, "actions:"+port) {
		t.Errorf("a change: %s", changed)
	}
	if !strings.HasPrefix(deleted, "flow del "+n.dpName+" ") || !strings.Contains(deleted, "in_port("+port+")") {
		t.Errorf("a deletion: %s", deleted)
	}
	ops := ended(t, some)
	if len(ops) != times+1 || !strings.HasPrefix(ops[0], "flow new ") || !strings.HasPrefix(ops[times], "flow del ") ||
		strings.Contains(ops[0], "ipv4") {
		t.Errorf("filtered: %q", ops)
	}
}

// TestMonitorOverflow installs more flows than the socket of a stopped monitor holds; the monitor
// reports the overflow and continues.
func TestMonitorOverflow(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 0)
	dp := newDatapath(t, n.sw, n.dpName)
	m := startMonitor(t, n.sw, "flow")
	freeze(t, &lab.Daemon{Process: m}, func() {
		for i := 0; i < 30_000; i += 1000 {
			b := dp.NewBatch()
			for j := i; j < i+1000; j++ {
				f := testFlow(byte(j), odp.PortNo(j>>8), 1)
				f.UFID[2] = byte(j >> 8)
				b.PutFlow(f, dpif.Create)
			}
			if err := dp.Send(b, func(i int, errno unix.Errno) { t.Errorf("flow %d: %v", i, errno) }); err != nil {
				t.Fatal(err)
			}
		}
	})
	m.WaitLine(t, waitLimit, func(line string) bool {
		return strings.HasSuffix(line, " overflow datapaths: the kernel dropped events")
	})
	// The kernel drops events until the queue has been emptied.
	last := testFlow(0, 0, 1)
	eventually(t, waitLimit, "an event after the overflow", func() bool {
		if err := dp.DeleteFlow(last); err != nil {
			t.Fatal(err)
		}
		if err := dp.PutFlow(last, dpif.Create); err != nil {
			t.Fatal(err)
		}
		return strings.Contains(m.Output(), " flow del "+n.dpName+" ")
	})
	if events := strings.Count(m.Output(), " flow new "); events == 0 || events >= 30_000 {
		t.Errorf("%d of 30,000 events came through", events)
	} else {
		t.Logf("%d of 30,000 events came through", events)
	}
}
