//go:build lab

package kernel_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestStateDump compares the state dump of SIGUSR1 with the kernel and the configuration.
func TestStateDump(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"flows": "{limit: 4321, max_idle: 10m}", "policy": "{mac_limit: 77}"})
	v := n.view(t)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	// A packet is forwarded before its flow is installed.
	eventually(t, waitLimit, "the flows of both packets are installed", func() bool { return len(v.flows(t)) == 2 })
	v.unchanged(t, "SIGUSR1", func() {
		since := time.Now()
		if err := unix.Kill(d.PID(), unix.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		c := d.Wait(t, since, "state_config", nil)
		file, err := os.ReadFile(c.Text("config"))
		if err != nil {
			t.Fatal(err)
		}
		want, err := config.Parse("file", file)
		if err != nil {
			t.Fatal(err)
		}
		got, err := config.Parse("log", []byte(c.Text("yaml")))
		if err != nil || !cmp.Equal(want, got) {
			t.Errorf("configuration in the log: %v\n%s", err, cmp.Diff(want, got))
		}
	})
	s := d.Events("state_daemon")[0]
	type daemonState struct {
		Features, Flows, Served string
		MACs, MACLimit, Ports   int64
	}
	info := v.info(t)
	want := daemonState{info.Features.String(), fmt.Sprint(info.Stats.Flows), "true", 2, 77, 4}
	got := daemonState{s.Text("features"), s.Text("flows"), s.Text("served"), s.Int(t, "macs"), s.Int(t, "mac_limit"),
		s.Int(t, "ports")}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("state_daemon (-want +got):\n%s", diff)
	}
	ports := v.vports(t)
	if perCPU {
		for i, pid := range d.Events("dispatch_selected")[0].Fields["upcall_pids"].([]any) {
			n, err := pid.(json.Number).Int64()
			if err != nil || !slices.Contains(v.listeners(t).pids(), uint32(n)) {
				t.Errorf("dispatch_selected names socket %v, %v; the kernel has %v", pid, err, v.listeners(t))
			}
			name := fmt.Sprint("handler ", i)
			ports[name] = dpif.Vport{No: odp.MaxPorts, Name: name, UpcallPIDs: []uint32{uint32(n)}}
		}
	}
	type portState struct {
		Type   string
		No     uint32
		PID    uint32
		Buffer bool // of a socket
	}
	wantPorts, gotPorts := map[string]portState{}, map[string]portState{}
	for name, p := range ports {
		wantPorts[name] = portState{p.Type.String(), uint32(p.No), p.UpcallPIDs[0], p.UpcallPIDs[0] != 0}
	}
	for _, e := range d.Events("state_port") {
		gotPorts[e.Text("port")] = portState{e.Text("type"), uint32(e.Int(t, "port_no")), uint32(e.Int(t, "upcall_pid")),
			e.Int(t, "rcvbuf_bytes") != 0}
		if e.Text("transport") == "" {
			t.Errorf("state_port without transport: %v", e.Fields)
		}
	}
	if diff := cmp.Diff(wantPorts, gotPorts); diff != "" {
		t.Errorf("state_port (-kernel +log):\n%s", diff)
	}
	stop(t, d)
}

// TestOverrides: flags override the file, at start and at each reload.
func TestOverrides(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	late := n.hosts[1]
	n.hosts = n.hosts[:1]
	file := lab.WriteConfig(t, n.config(settings{"policy": "{type: drop}"}))
	conn, fam := dial(t, n.sw)
	d := n.sw.StartDaemonCommand(t, exec.Command(lab.DaemonPath(t), "run", "--config", file, "--set",
		"policy.type=flood", "--set", "datapath.on_exit=delete", "--log-format", "json"))
	if e := d.Wait(t, time.Time{}, "ready", nil); e.Text("policy") != "flood" {
		t.Errorf("policy %s", e.Text("policy"))
	}
	n.hosts = append(n.hosts, late)
	since := reload(t, d, n.config(settings{"policy": "{type: learning}", "log": "{format: console}"}))
	d.Wait(t, since, "port_added", forPort(late.port))
	if e := d.Wait(t, since, "reloaded", nil); !strings.Contains(e.Text("changed"), "ports") ||
		strings.Contains(e.Text("changed"), "policy") {
		t.Errorf("changed: %s", e.Text("changed"))
	}
	if e := d.Events("reload_ignored"); len(e) != 0 {
		t.Errorf("the flag --log-format was not applied: %v", e)
	}
	if err := d.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
		t.Error(err)
	}
	if _, err := dpif.OpenDatapath(conn, fam, n.dpName); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the datapath after the stop: %v, want none", err)
	}
}
