//go:build lab

package kernel_test

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// reload replaces the daemon's configuration file and sends SIGHUP. It returns the time just
// before.
func reload(t *testing.T, d *lab.Daemon, config string) time.Time {
	t.Helper()
	since := time.Now()
	path := d.Events("starting")[0].Text("config")
	if err := os.WriteFile(path, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Kill(d.PID(), unix.SIGHUP); err != nil {
		t.Fatal(err)
	}
	return since
}

// TestReload changes ports, policy, limits and the log level of a running daemon, and checks that a
// bad file is rejected.
func TestReload(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	late := n.hosts[2]
	n.hosts = n.hosts[:2]
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	q := late.OpenPacket(t, "eth0")
	exchange(t, p[0], p[1])
	pids := func() map[string]uint32 {
		all := map[string]uint32{}
		for name, port := range v.vports(t) {
			all[name] = port.UpcallPIDs[0]
		}
		return all
	}
	before := pids()

	// Add a port; the others are not touched.
	n.hosts = append(n.hosts, late)
	since := reload(t, d, n.config(settings{"flows": "{max_idle: 60s}"}))
	d.Wait(t, since, "port_added", forPort(late.port))
	if e := d.Wait(t, since, "reloaded", nil); e.Text("changed") != "[ports]" {
		t.Errorf("reloaded says changed %s", e.Text("changed"))
	}
	for name, pid := range before {
		if got := pids()[name]; got != pid {
			t.Errorf("port %s has upcall PID %d, had %d before the reload", name, got, pid)
		}
	}
	no := v.portNo(t, late.port).String()
	eventually(t, waitLimit, "flows flood to the new port", func() bool {
		for f := range v.flows(t) {
			if !slices.Contains(strings.Split(f.actions, ","), no) {
				return false
			}
		}
		return true
	})
	exchange(t, p[0], q)

	// A bad file changes nothing.
	bad := strings.Replace(n.config(nil), "stats_interval: 1s", "stats_interval: 1", 1)
	since = reload(t, d, bad)
	e := d.Wait(t, since, "reload_failed", nil)
	line := strings.Count(bad[:strings.Index(bad, "log:")], "\n") + 1
	if msg := e.Text("error"); !strings.Contains(msg, fmt.Sprintf("%s:%d:", e.Text("config"), line)) {
		t.Errorf("reload_failed does not say where: %q", msg)
	}
	exchange(t, p[1], q)

	// The new policy decides again about existing flows.
	since = reload(t, d, n.config(settings{"flows": "{max_idle: 60s}", "policy": "{type: drop}"}))
	d.Wait(t, since, "reloaded", nil)
	eventually(t, waitLimit, "all flows drop", func() bool {
		for f := range v.flows(t) {
			if f.actions != "drop" {
				return false
			}
		}
		return true
	})

	// Remove a port, change limits, level, and a key that requires a restart.
	n.hosts = n.hosts[1:]
	since = reload(t, d, n.config(settings{"flows": "{max_idle: 300ms, limit: 1000}",
		"log": "{level: debug, stats_interval: 1s}", "handlers": "7"}))
	d.Wait(t, since, "port_removed", nil)
	if e := d.Wait(t, since, "reload_ignored", nil); e.Text("keys") != "[handlers]" {
		t.Errorf("reload_ignored says keys %s", e.Text("keys"))
	}
	d.Wait(t, since, "port_stats", nil)
	eventually(t, waitLimit, "no flow drops any more", func() bool {
		for f := range v.flows(t) {
			if f.actions == "drop" {
				return false
			}
		}
		return true
	})
	exchange(t, p[1], q)
	d.Wait(t, since, "upcall", nil)
	d.Wait(t, since, "stats", func(e lab.Event) bool { return e.Int(t, "flow_limit") == 1000 })
	eventually(t, waitLimit, "flows are deleted after the new max_idle", func() bool { return len(v.flows(t)) == 0 })
	if _, there := v.vports(t)[d.Events("port_removed")[0].Text("port")]; there {
		t.Error("the port that was removed from the file is still attached")
	}
	stop(t, d)
}
