//go:build lab

package kernel_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
	"dpifd/internal/totals"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// ask runs a command of the program under test and decodes its JSON output.
func ask[T any](t *testing.T, n *network, args ...string) T {
	t.Helper()
	var v T
	out := n.sw.Run(t, lab.DaemonPath(t), append(args, "-o", "json")...)
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("dpifd %s: %v in\n%s", strings.Join(args, " "), err, out)
	}
	return v
}

// shared is the state that other programs could change.
type shared struct {
	Features dpif.Features
	PIDs     map[string][]uint32 // by vport
}

func (v view) shared(t *testing.T) shared {
	t.Helper()
	s := shared{v.info(t).Features, map[string][]uint32{}}
	for name, p := range v.vports(t) {
		s.PIDs[name] = p.UpcallPIDs
	}
	return s
}

// unchanged fails the test if fn changes features or upcall PIDs, or adds flows.
func (v view) unchanged(t *testing.T, what string, fn func()) {
	t.Helper()
	before, flows := v.shared(t), v.flows(t)
	fn()
	if diff := cmp.Diff(before, v.shared(t)); diff != "" {
		t.Errorf("%s changed the datapath (-before +after):\n%s", what, diff)
	}
	for f := range v.flows(t) {
		if _, was := flows[f]; !was {
			t.Errorf("%s added flow %v", what, f)
		}
	}
}

// TestControlCommands compares the output of commands for a running daemon with the traffic, the
// log and the kernel, and checks that the commands change nothing.
func TestControlCommands(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 4)
	d := n.run(t, settings{"flows": "{max_idle: 600s}", "control": "{group: \"0\"}"})
	v := n.view(t)
	p := n.sockets(t)
	want := map[string]string{} // port by MAC
	for i, h := range n.hosts {
		for j := range i + 1 {
			src := fmt.Sprintf("02:cc:00:00:%02x:%02x", i, j)
			want[src] = h.port
			f := frame(t, broadcast, src)
			send(t, p[i], f)
			p[(i+1)%len(p)].Expect(t, waitLimit, among(f))
		}
	}
	// The last MAC moves.
	moved := fmt.Sprintf("02:cc:00:00:%02x:%02x", 3, 3)
	want[moved] = n.hosts[0].port
	f := frame(t, broadcast, moved)
	send(t, p[0], f)
	p[1].Expect(t, waitLimit, among(f))
	// A packet is forwarded before its flow is installed.
	from := v.portNo(t, n.hosts[0].port)
	eventually(t, waitLimit, "the flow of the last one is installed", func() bool {
		for f := range v.flows(t) {
			if f.inPort == from && strings.Contains(f.eth, "src="+moved) {
				return true
			}
		}
		return false
	})

	v.unchanged(t, "dump-macs", func() {
		got := map[string]string{}
		for _, m := range ask[[]endpoint.MAC](t, n, "dump-macs", n.dpName) {
			got[m.MAC] = m.Port
			if m.PortNo != uint32(v.portNo(t, m.Port)) || m.VLAN != 0 || m.AgeMS < 0 || m.AgeMS > 300_000 {
				t.Errorf("entry %+v", m)
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("dump-macs (-learned +shown):\n%s", diff)
		}
	})
	// Compare counters only after the revalidator has handled the move.
	d.Wait(t, time.Time{}, "stats", func(e lab.Event) bool { return e.Int(t, "flows_deleted") > 0 })
	v.unchanged(t, "stats", func() { n.compareStats(t, d) })
	v.unchanged(t, "metrics", func() { n.compareMetrics(t) })

	// At level debug, the log names who connected.
	if e := d.Events("control_connected"); len(e) != 0 {
		t.Errorf("at level info: %v", e)
	}
	v.unchanged(t, "log-level", func() {
		since := time.Now()
		ch := ask[endpoint.Change](t, n, "log-level", "-d", n.dpName, "debug")
		if ch != (endpoint.Change{Before: "info", Level: "debug"}) {
			t.Errorf("log-level debug: %+v", ch)
		}
		n.compareStats(t, d)
		if e := d.Wait(t, since, "control_connected", nil); e.Int(t, "uid") != int64(os.Getuid()) || e.Int(t, "pid") <= 0 {
			t.Errorf("control_connected: %v", e.Fields)
		}
		d.Wait(t, since, "log_level_changed", nil)
		if l := ask[endpoint.Level](t, n, "log-level", "--socket", control.SocketPath(n.dpName)); l.Level != "debug" {
			t.Errorf("log-level: %+v", l)
		}
		d.Wait(t, since, "port_stats", nil)
	})
	stop(t, d)
	_, err := n.sw.Try(lab.DaemonPath(t), "stats", n.dpName)
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 ||
		!strings.Contains(err.Error(), "no dpifd answers at "+control.SocketPath(n.dpName)) {
		t.Errorf("stats of a daemon that has stopped: %v", err)
	}
	if _, err := os.Stat(control.SocketPath(n.dpName)); !os.IsNotExist(err) {
		t.Errorf("the socket after the stop: %v", err)
	}
}

// moving are the fields of stats that differ without traffic: they grow, or cover another interval.
var moving = []string{"upcall_us_p50", "upcall_us_p99", "upcall_us_p999", "upcall_us_max", "handler_cpu_wait_us",
	"uptime_s", "goroutines", "revalidator_cycles", "revalidator_dump_ms", "epoll_waits", "flow_limit"}

// ofInterval reports whether a field of the event stats covers one interval, so that a command
// cannot show it.
func ofInterval(name string) bool {
	for _, m := range totals.Table {
		if m.LogOnly && m.Field() == name {
			return true
		}
	}
	return name == "interval_ms" || strings.HasSuffix(name, "_delta")
}

// compareStats compares the counters that a command shows with those in the log, while there is no
// traffic.
func (n *network) compareStats(t *testing.T, d *lab.Daemon) {
	t.Helper()
	shown := ask[endpoint.Stats](t, n, "stats", n.dpName)
	e := d.Wait(t, time.Now(), "stats", nil)
	got, want := map[string]string{}, map[string]string{}
	for _, f := range shown.Totals {
		got[f.Name] = fmt.Sprint(f.Value)
	}
	for name := range e.Fields {
		if !ofInterval(name) && name != "datapath" {
			want[name] = e.Text(name)
		}
	}
	for _, name := range moving {
		if got[name] == "" || want[name] == "" {
			t.Errorf("%s: %q shown, %q in the log", name, got[name], want[name])
		}
		delete(got, name)
		delete(want, name)
	}
	if diff := cmp.Diff(want, got); diff != "" || len(got) < 40 {
		t.Errorf("%d counters (-log +shown):\n%s", len(got), diff)
	}
	if len(shown.Ports) != len(n.hosts)+1 || len(shown.Losses) != 0 {
		t.Errorf("%d ports and losses %v, want %d and none", len(shown.Ports), shown.Losses, len(n.hosts)+1)
	}
	upcalls := int64(0)
	for _, p := range shown.Ports {
		n, ok := p.Values.Get("upcalls")
		if !ok {
			t.Errorf("port %s: no upcalls among %v", p.Port, p.Values)
		}
		upcalls += n
	}
	if total, _ := shown.Totals.Get("upcalls"); total != upcalls || upcalls == 0 {
		t.Errorf("%d upcalls of ports, %d in all", upcalls, total)
	}
}

// compareMetrics compares the Prometheus text with the counters of stats, while there is no
// traffic.
func (n *network) compareMetrics(t *testing.T) {
	t.Helper()
	shown := ask[endpoint.Stats](t, n, "stats", n.dpName)
	text := n.sw.Run(t, lab.DaemonPath(t), "metrics", n.dpName)
	want := []string{fmt.Sprintf("dpifd_up{datapath=%q} 1", n.dpName)}
	for _, name := range []string{"upcalls", "executed", "hit", "missed", "macs_learned", "flows_put"} {
		v, ok := shown.Totals.Get(name)
		if !ok {
			t.Errorf("stats has no %s", name)
		}
		want = append(want, fmt.Sprintf("dpifd_%s_total{datapath=%q} %d", name, n.dpName, v))
	}
	for _, p := range shown.Ports {
		v, _ := p.Values.Get("rx_packets")
		want = append(want, fmt.Sprintf("dpifd_port_rx_packets_total{datapath=%q,port=%q} %d", n.dpName, p.Port, v))
	}
	for _, line := range want {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("dpifd metrics has no line %s", line)
		}
	}
}

// TestControlAfterKill: a daemon takes over the control socket of a killed daemon, but not that of
// a running one.
func TestControlAfterKill(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	if err := d.Stop(t, unix.SIGKILL, lab.DaemonLimit); err == nil {
		t.Error("no error from a daemon that was killed")
	}
	if _, err := os.Stat(control.SocketPath(n.dpName)); err != nil {
		t.Fatalf("the socket after the kill: %v", err)
	}
	d = n.run(t, nil)
	ask[endpoint.Stats](t, n, "stats", n.dpName)
	// A second daemon, of another datapath, is configured with the first one's socket.
	other := network{sw: lab.NewNetNS(t, "sw"), dpName: lab.Name("dp")}
	second := other.run(t, settings{"control": "{socket: " + control.SocketPath(n.dpName) + "}"})
	if e := second.Wait(t, time.Time{}, "control_unavailable", nil); !strings.Contains(e.Text("error"),
		fmt.Sprintf("process %d", d.PID())) {
		t.Errorf("control_unavailable: %v", e.Fields)
	}
	stop(t, second)
	ask[endpoint.Stats](t, n, "stats", n.dpName)
	stop(t, d)
}
