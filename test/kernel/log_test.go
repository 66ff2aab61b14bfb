//go:build lab

package kernel_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestEventfulLog produces, in two runs, the log of everything that monitoring must recognise: new
// flows, traffic that stays in the kernel, a queue overflow, the flow limit, changes by another
// program, good and bad reloads, a missing port and a removed one. If DPIFD_LOG_DIR is set, the log
// is stored there for the tests of log-reading tools.
func TestEventfulLog(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	common := smallQueues(settings{
		"policy": "{type: learning, mac_limit: 500}",
		"flows":  "{max_idle: 2s, limit: 200}",
		"log":    "{stats_interval: 500ms}",
	})
	gone := n.hosts[2]
	n.hosts = append(n.hosts, host{port: "absent-9"})
	config := n.config(common)
	n.hosts = n.hosts[:3]
	d := n.sw.StartDaemon(t, config)
	ready := d.Wait(t, time.Time{}, "ready", nil)
	d.Wait(t, time.Time{}, "port_waiting", forPort("absent-9"))
	p := n.sockets(t)
	const sink = "02:51:4c:00:00:77"
	send(t, p[1], frame(t, broadcast, sink))

	// Create more flows than are allowed, then send nothing until they have idled out.
	paced(t, p[0], sink, 600, 200)
	reached := d.Wait(t, ready.Time, "flow_limit_reached", nil)
	d.Wait(t, reached.Time, "flow_limit_cleared", nil)

	// Traffic that stays in the kernel, and a MAC that moves.
	steady := frame(t, sink, "02:51:4c:00:00:78")
	for range 5000 {
		send(t, p[0], steady)
	}
	send(t, p[2], steady, frame(t, broadcast, "02:51:4c:00:00:78"))

	// Far more than the queue holds.
	since := time.Now()
	freeze(t, d, func() {
		for i := range 900 {
			send(t, p[0], numbered(t, 10_000+i, sink))
		}
	})
	d.Wait(t, since, "upcalls_lost", queueOf(n.hosts[0].port))

	since = time.Now()
	n.sw.DPCtl(t, "show", n.dpName)
	if _, err := flips(n.view(t).info(t).Features); err == nil {
		d.Wait(t, since, "features_restored", nil)
	}
	d.Wait(t, reload(t, d, "ports: [{nmae: eth0}]\n"), "reload_failed", nil)
	common["policy"] = "{type: learning, mac_limit: 900}"
	n.hosts = n.hosts[:2]
	d.Wait(t, reload(t, d, n.config(common)), "reloaded", nil)
	d.Wait(t, since, "port_removed", forPort(gone.port))
	paced(t, p[1], sink, 300, 150)
	d.Wait(t, time.Now(), "stats", nil)
	stop(t, d)
	log := d.Output()

	// The second run adopts the first one's datapath and flows, and logs at level debug.
	common["log"] = "{stats_interval: 1s, level: debug}"
	d = n.run(t, common)
	since = time.Now()
	paced(t, p[1], sink, 80, 40)
	first := d.Wait(t, since, "port_stats", forPort(n.hosts[1].port))
	d.Wait(t, first.Time, "port_stats", forPort(n.hosts[1].port)) // rates need two samples
	stop(t, d)
	log += d.Output()
	if dir := os.Getenv("DPIFD_LOG_DIR"); dir != "" {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "dpifd.log"), []byte(log), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}
