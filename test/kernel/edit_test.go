//go:build lab

package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
)

// TestDelFlows deletes flows, by filter and all, of a datapath without a daemon.
func TestDelFlows(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n, _ := variedFlows(t)
	dump := func() []string {
		lines, _ := dumpLines(t, dpifd(t, n.sw, "dump-flows", n.dpName))
		return lines
	}
	before := dump()
	wantFailure(t, n.sw, 2, "nobody serves "+n.dpName, "del-flows", n.dpName, "--filter", "in_port(1)")
	wantFailure(t, n.sw, 2, "--filter in_port(", "del-flows", n.dpName, "--yes", "--filter", "in_port(")
	wantFailure(t, n.sw, 1, "no such device", "del-flows", "nosuch", "--yes")
	if diff := cmp.Diff(before, dump()); diff != "" {
		t.Fatalf("flows changed:\n%s", diff)
	}
	kept := slices.DeleteFunc(slices.Clone(before), func(line string) bool {
		return strings.HasPrefix(line, "in_port(1),")
	})
	if len(kept) == 0 || len(kept) == len(before) {
		t.Fatalf("%d of %d flows are not of port 1", len(kept), len(before))
	}
	out := dpifd(t, n.sw, "del-flows", n.dpName, "--yes", "--filter", "in_port("+n.hosts[0].port+")")
	if want := fmt.Sprintf("%d flows deleted\n", len(before)-len(kept)); out != want {
		t.Errorf("del-flows prints %q, want %q", out, want)
	}
	if diff := cmp.Diff(kept, dump()); diff != "" {
		t.Errorf("flows left (-want +got):\n%s", diff)
	}
	dpifd(t, n.sw, "del-flows", n.dpName, "--yes")
	if left := dump(); len(left) != 0 {
		t.Errorf("flows left: %q", left)
	}
}

// TestDelFlowsOfDaemon deletes flows of a served datapath; the daemon keeps its features and upcall
// PIDs.
func TestDelFlowsOfDaemon(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 2, 0)
	d := n.run(t, settings{})
	a, b := n.hosts[0], n.hosts[1]
	ping(t, a.NetNS, b.ip4, 3, 56)
	w := newWatcher(t, n.sw, n.dpName)
	w.unchanged("dpifd del-flows", func() {
		wantFailure(t, n.sw, 2, fmt.Sprintf("come up to dpifd[%d] together", d.PID()), "del-flows", n.dpName)
		dpifd(t, n.sw, "del-flows", n.dpName, "--filter", "in_port("+a.port+")")
		dpifd(t, n.sw, "del-flows", n.dpName, "--yes")
	})
	ping(t, a.NetNS, b.ip4, 3, 56)
}

// TestEditPorts attaches and detaches ports of a served datapath.
func TestEditPorts(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 3, 0)
	c := n.hosts[2]
	file := n.config(settings{"ports": "[{name: " + n.hosts[0].port + "}, {name: " + n.hosts[1].port + "}]"})
	d := n.sw.StartDaemon(t, file)
	d.Wait(t, time.Time{}, "ready", nil)
	start := time.Now()
	out := dpifd(t, n.sw, "add-port", n.dpName, c.port)
	if !strings.HasPrefix(out, c.port+" is port ") {
		t.Errorf("add-port: %s", out)
	}
	d.Wait(t, start, "port_added", func(e lab.Event) bool { return e.Fields["port"] == c.port })
	ping(t, c.NetNS, n.hosts[0].ip4, 3, 56)
	wantFailure(t, n.sw, 1, "a port or device has this name", "add-port", n.dpName, c.port)
	wantFailure(t, n.sw, 1, "there is no device nosuch", "add-port", n.dpName, "nosuch")

	// A device with an IP address of the host is attached only with --yes.
	n.sw.Run(t, "ip", "link", "add", "dum0", "type", "dummy")
	n.sw.Run(t, "ip", "address", "add", "192.0.2.7/24", "dev", "dum0")
	wantFailure(t, n.sw, 2, "no longer answers at 192.0.2.7/24 of dum0", "add-port", n.dpName, "dum0")
	names := func() (list []string) {
		for _, p := range showJSON(t, n.sw, n.dpName)[0].Ports {
			list = append(list, p.Name)
		}
		return list
	}
	if slices.Contains(names(), "dum0") {
		t.Error("dum0 was attached without --yes")
	}
	dpifd(t, n.sw, "add-port", n.dpName, "dum0", "-y")
	dpifd(t, n.sw, "add-port", n.dpName, "inner0", "--internal")
	if list := names(); !slices.Contains(list, "dum0") || !slices.Contains(list, "inner0") {
		t.Errorf("ports %v", list)
	}

	wantFailure(t, n.sw, 2, "traffic of port "+c.port+" stops", "del-port", n.dpName, c.port)
	start = time.Now()
	for _, name := range []string{c.port, "dum0", "inner0"} {
		dpifd(t, n.sw, "del-port", n.dpName, name, "--yes")
	}
	d.Wait(t, start, "port_removed", func(e lab.Event) bool { return e.Fields["port"] == c.port })
	if list := names(); len(list) != 3 {
		t.Errorf("ports %v, want the local one and two", list)
	}
	wantFailure(t, n.sw, 1, "has no port dum0; it has "+n.dpName, "del-port", n.dpName, "dum0", "--yes")
	wantFailure(t, n.sw, 1, "is the local port", "del-port", n.dpName, n.dpName, "--yes")
	if e := d.Events("features_restored"); len(e) != 0 {
		t.Errorf("features were changed: %v", e)
	}
}

// TestDelDP deletes a datapath without a daemon, only after confirmation.
func TestDelDP(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 1)
	newDatapath(t, n.sw, n.dpName)
	wantFailure(t, n.sw, 2, "deletes "+n.dpName+", which nobody serves", "del-dp", n.dpName)
	wantFailure(t, n.sw, 2, "nobody serves "+n.dpName, "del-flows", n.dpName, "--filter", "in_port(1)")
	if list := showJSON(t, n.sw); len(list) != 1 {
		t.Fatalf("datapaths %+v", list)
	}
	if out := dpifd(t, n.sw, "del-dp", n.dpName, "--yes"); out != n.dpName+" deleted\n" {
		t.Errorf("del-dp: %q", out)
	}
	if list := showJSON(t, n.sw); len(list) != 0 {
		t.Errorf("datapaths %+v", list)
	}
	wantFailure(t, n.sw, 1, "no such device", "del-dp", n.dpName, "--yes")
}
