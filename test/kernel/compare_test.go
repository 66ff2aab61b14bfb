//go:build lab

package kernel_test

import (
	"fmt"
	"maps"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

var (
	flowLine = regexp.MustCompile(`in_port\((\d+)\),eth\(([^)]*)\).*packets:(\d+),.*actions:(\S+)`)
	// theirDrop is the output of ovs-dpctl 3.1 for the drop action, which it does not know.
	theirDrop = regexp.MustCompile(`^tnl_pop\(\d+\)$`)
	portLine  = regexp.MustCompile(`^\s*port (\d+): (\S+)`)
)

// dpctlFlows returns ovs-dpctl's view of the flow table.
func dpctlFlows(t *testing.T, ns *lab.NetNS, dp string) map[flow]uint64 {
	t.Helper()
	all := make(map[flow]uint64)
	for line := range strings.Lines(ns.DPCtl(t, "dump-flows", dp)) {
		m := flowLine.FindStringSubmatch(line)
		if m == nil {
			t.Errorf("ovs-dpctl dump-flows: line %q cannot be parsed", line)
			continue
		}
		no, err := strconv.ParseUint(m[1], 10, 16)
		if err != nil {
			t.Fatal(err)
		}
		packets, err := strconv.ParseUint(m[3], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		all[flow{odp.PortNo(no), m[2], theirDrop.ReplaceAllString(m[4], "drop")}] = packets
	}
	return all
}

// TestCompareWithDPCtl compares package dpif's view of a datapath with that of ovs-dpctl after the
// daemon has stopped.
func TestCompareWithDPCtl(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 3, 0)
	d := n.run(t, settings{
		"datapath": fmt.Sprintf("{name: %s, on_exit: keep}", n.dpName),
		"ports": fmt.Sprintf("[{name: %s}, {name: %s}, {name: %s}, {name: int-x, type: internal}]",
			n.hosts[0].port, n.hosts[1].port, n.hosts[2].port),
	})
	for i, from := range n.hosts[:2] {
		to := n.hosts[i+1]
		ping(t, from.NetNS, to.ip4, 3, 600+i)
		ping(t, from.NetNS, to.ip6, 2, 90)
	}
	p := n.sockets(t)
	const src = "02:e7:e5:00:00:01"
	send(t, p[0], frame(t, "01:80:c2:00:00:00", src), frame(t, "01:00:5e:00:00:16", src),
		frame(t, "02:e7:e5:00:00:02", src))
	for _, h := range n.hosts {
		h.SetLink(t, "eth0", false)
	}
	stop(t, d)

	v := n.view(t)
	ours := v.flows(t)
	theirs := dpctlFlows(t, n.sw, n.dpName)
	if diff := cmp.Diff(ours, theirs); diff != "" || len(ours) < 8 {
		t.Errorf("flow tables of %d and %d flows (-dpif +ovs-dpctl):\n%s", len(ours), len(theirs), diff)
	}

	ports := make(map[string]string)
	for line := range strings.Lines(n.sw.DPCtl(t, "show", n.dpName)) {
		if m := portLine.FindStringSubmatch(line); m != nil {
			ports[m[2]] = m[1]
		}
	}
	want := make(map[string]string)
	for name, p := range v.vports(t) {
		want[name] = p.No.String()
	}
	if diff := cmp.Diff(want, ports); diff != "" || len(want) != 5 {
		t.Errorf("%d ports (-dpif +ovs-dpctl):\n%s", len(want), diff)
	}

	stats := v.info(t).Stats
	show := n.sw.DPCtl(t, "show", n.dpName)
	for _, want := range []string{
		fmt.Sprintf("lookups: hit:%d missed:%d lost:%d", stats.Hit, stats.Missed, stats.Lost),
		fmt.Sprintf("flows: %d", stats.Flows),
		fmt.Sprintf("total:%d", stats.Masks),
		"int-x (internal)",
	} {
		if !strings.Contains(show, want) {
			t.Errorf("ovs-dpctl show lacks %q:\n%s", want, show)
		}
	}
	if stats.Flows != uint64(len(ours)) || stats.Lost != 0 {
		t.Errorf("statistics: %d flows, %d lost; want %d and 0", stats.Flows, stats.Lost, len(ours))
	}
	n.sw.DPCtl(t, "del-flows", n.dpName)
	if got := v.flows(t); len(got) != 0 {
		t.Errorf("after ovs-dpctl del-flows: %v", maps.Keys(got))
	}
}
