//go:build lab

package kernel_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sink makes the daemon learn a station behind the port of p, and returns its address.
func sink(t *testing.T, p []*lab.Packet) string {
	t.Helper()
	const mac = "02:51:4c:00:00:99"
	hello := frame(t, broadcast, mac)
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	return mac
}

// TestRestartLosesNothing restarts the daemon repeatedly while new flows arrive; each packet must
// be forwarded. The host may stall emulated CPUs for long, so the test has three attempts; packets
// lost then must have been dropped by full sockets, not by missing ones.
func TestRestartLosesNothing(t *testing.T) {
	for attempt := range 3 {
		lost := restartUnderLoad(t)
		if lost == 0 {
			return
		}
		t.Logf("attempt %d: %d packets lost by full sockets: the machine was too slow", attempt+1, lost)
	}
}

// restartUnderLoad returns the number of packets dropped by full upcall sockets.
func restartUnderLoad(t *testing.T) int {
	const rate, restarts, count = 2_000, 10, 40_000
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{type: learning, mac_limit: 50000}", "flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	to := sink(t, p)
	before := v.listeners(t)
	sockets := int64(len(before.pids()))

	frames := numberedLoad(t, count, to)
	sent := make(chan time.Duration, 1)
	begun := time.Now()
	beside(t, count, rate, func(i int) error {
		if i == count-1 {
			sent <- time.Since(begun)
		}
		return p[0].Send(frames[i])
	})
	got := lab.Collect(t, p[1])
	for i := range restarts {
		since := time.Now()
		signal(t, d, unix.SIGUSR2)
		if e := d.Wait(t, since, "handed_over", nil); e.Text("to") != "exec" || e.Int(t, "sockets") != sockets ||
			e.Int(t, "not_handed_over") != 0 {
			t.Errorf("handed_over: %v, want %d sockets to exec", e.Fields, sockets)
		}
		if e := d.Wait(t, since, "sockets_adopted", nil); e.Int(t, "adopted") != sockets || e.Int(t, "closed") != 0 {
			t.Errorf("sockets_adopted: %v, want %d", e.Fields, sockets)
		}
		ready := d.Wait(t, since, "ready", nil)
		t.Logf("restart %d: ready %v after the signal, %d packets arrived in the switch by then",
			i+1, ready.Time.Sub(since).Round(time.Millisecond), v.info(t).Stats.Missed)
		time.Sleep(time.Second) // so that the load spans all restarts
	}
	if len(sent) > 0 {
		t.Log("the load was over before the last restart")
	}
	took := <-sent
	eventually(t, 2*waitLimit, "each packet arrives or is counted as lost", func() bool {
		return got.Count()+int(v.info(t).Stats.Lost) >= count
	})
	stats := v.info(t).Stats
	drops := n.sw.SocketDrops(t, before.pids()...)
	t.Logf("%d packets in %v, %d arrived; kernel: missed %d, lost %d, flows %d; dropped by full sockets: %d",
		count, took.Round(time.Millisecond), got.Count(), stats.Missed, stats.Lost, stats.Flows, drops)
	if diff := cmp.Diff(before, v.listeners(t)); diff != "" {
		t.Errorf("upcall PIDs (-before the restarts +after):\n%s", diff)
	}
	stop(t, d)
	if e := d.Events("starting"); len(e) != restarts+1 || e[restarts].Text("pid") != e[0].Text("pid") {
		t.Errorf("%d starts, the last in process %s, the first in %s", len(e), e[restarts].Text("pid"), e[0].Text("pid"))
	}
	if unexplained := count - got.Count() - int(stats.Lost); unexplained != 0 {
		t.Errorf("%d packets are unexplained", unexplained)
	}
	if int(stats.Lost) != drops {
		t.Errorf("the kernel lost %d upcalls, full sockets %d of these", stats.Lost, drops)
	}
	return drops
}

// TestRestartRefused: a restart that could not succeed is not started.
func TestRestartRefused(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	file := lab.WriteConfig(t, n.config(nil))
	d := n.sw.StartDaemonFile(t, file)
	d.Wait(t, time.Time{}, "ready", nil)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	since := time.Now()
	if err := os.WriteFile(file, []byte("ports: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	signal(t, d, unix.SIGUSR2)
	if e := d.Wait(t, since, "restart_failed", nil); !strings.Contains(e.Text("error"), "dpifd.yaml:1:") {
		t.Errorf("restart_failed: %q does not say where", e.Text("error"))
	}
	exchange(t, p[0], p[1])
	stop(t, d)
	if len(d.Events("starting")) != 1 {
		t.Error("the daemon restarted")
	}
}

// TestRestartWithoutProgram: if the program is gone by the time of the exec, the daemon continues
// with its sockets.
func TestRestartWithoutProgram(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	dir := t.TempDir()
	program := filepath.Join(dir, "dpifd")
	// Copied by another process: if this process had the file open for writing, a child that a parallel
	// test starts at the same time would inherit the descriptor, and exec of the file would fail.
	n.sw.Run(t, "cp", lab.DaemonPath(t), program)
	d := n.sw.StartProgram(t, program, n.config(nil))
	d.Wait(t, time.Time{}, "ready", nil)
	v := n.view(t)
	before := v.listeners(t)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	// A program that passes the check and deletes itself.
	n.sw.Run(t, "rm", program)
	n.sw.Run(t, "sh", "-c", `printf '#!/bin/sh\nrm -f %s\n' "$0" >"$0" && chmod 755 "$0"`, program)
	since := time.Now()
	signal(t, d, unix.SIGUSR2)
	if e := d.Wait(t, since, "restart_failed", nil); !strings.Contains(e.Text("error"), program) ||
		!strings.Contains(e.Text("error"), unix.ENOENT.Error()) {
		t.Errorf("restart_failed: %q", e.Text("error"))
	}
	d.Wait(t, since, "ready", nil)
	want := int64(len(before.pids()))
	if e := d.Wait(t, since, "sockets_adopted", nil); e.Int(t, "adopted") != want {
		t.Errorf("sockets_adopted: %v, want %d", e.Fields, want)
	}
	exchange(t, p[0], p[1])
	if diff := cmp.Diff(before, v.listeners(t)); diff != "" {
		t.Errorf("upcall PIDs (-before +after):\n%s", diff)
	}
	stop(t, d)
}

// TestForgedDescriptors: the daemon verifies the descriptors that the environment names.
func TestForgedDescriptors(t *testing.T) {
	t.Parallel()
	for _, forged := range []string{
		"LISTEN_PID=$$ LISTEN_FDS=100000 LISTEN_FDNAMES=a:b:c",
		"LISTEN_PID=$$ LISTEN_FDS=3 LISTEN_FDNAMES=:::::",
		"LISTEN_PID=$$ LISTEN_FDS=-1",
		"DPIFD_FDS=\"$$ 3 4 5 6 7 8 9 10 11 99999999\"",
	} {
		t.Run(forged, func(t *testing.T) {
			n := newQuietNetwork(t, 2)
			file := lab.WriteConfig(t, n.config(nil))
			// Descriptors 3 to 5 are passed, but are not sockets.
			d := n.sw.StartDaemonFile(t, file, "sh", "-c",
				"exec 3</dev/null 4</proc/self/net/netlink 5>/dev/null; export "+forged+"; exec \"$@\"", "sh")
			d.Wait(t, time.Time{}, "ready", nil)
			p := n.sockets(t)
			exchange(t, p[0], p[1])
			stop(t, d)
			for _, e := range d.Events("socket_refused") {
				t.Logf("refused: %v", e.Fields)
			}
			if want := !strings.Contains(forged, "-1"); want != (len(d.Events("socket_refused")) == 3) {
				t.Errorf("%d descriptors refused, want 3 if any were passed", len(d.Events("socket_refused")))
			}
		})
	}
}

// TestRestartKeepsStations: learned MACs are known after a restart, even without flows that show
// them.
func TestRestartKeepsStations(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, nil)
	p := n.sockets(t)
	to := sink(t, p)
	since := time.Now()
	signal(t, d, unix.SIGUSR2)
	d.Wait(t, since, "ready", nil)
	unicast := frame(t, to, "02:51:4c:00:00:01")
	after := frame(t, broadcast, "02:51:4c:00:00:02")
	send(t, p[0], unicast)
	p[1].Expect(t, waitLimit, among(unicast))
	send(t, p[0], after)
	flooded := false
	p[2].Expect(t, waitLimit, func(f []byte) bool {
		flooded = flooded || among(unicast)(f)
		return among(after)(f)
	})
	if flooded {
		t.Error("a packet to a station that was known before the restart was flooded")
	}
	stop(t, d)
}

// TestKill: after SIGKILL the flows keep forwarding; until the next start only new flows are lost,
// and these are counted.
func TestKill(t *testing.T) {
	t.Parallel()
	const during = 37
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	there := frame(t, n.hosts[1].mac, n.hosts[0].mac)
	back := frame(t, n.hosts[0].mac, n.hosts[1].mac)
	pass := func() {
		t.Helper()
		send(t, p[0], there)
		p[1].Expect(t, waitLimit, among(there))
		send(t, p[1], back)
		p[0].Expect(t, waitLimit, among(back))
	}
	// Wait until both directions have final flows of their own.
	eventually(t, waitLimit, "there are no upcalls", func() bool {
		missed := v.info(t).Stats.Missed
		pass()
		return v.info(t).Stats.Missed == missed
	})
	// Wait until the daemon has read the current counters.
	d.Wait(t, time.Now(), "stats", nil)
	before := v.info(t).Stats
	signal(t, d, unix.SIGKILL)
	d.WaitExit(t)
	for i := range during {
		pass()
		send(t, p[0], numbered(t, i, broadcast))
	}
	stats := v.info(t).Stats
	if lost := stats.Lost - before.Lost; lost != during || stats.Missed-before.Missed != during {
		t.Errorf("the kernel missed %d and lost %d packets, want %d: flows must forward the others",
			stats.Missed-before.Missed, lost, during)
	}
	next := n.run(t, nil)
	if e := next.Events("lost_while_down"); len(e) != 1 || e[0].Int(t, "lost") != during ||
		e[0].Int(t, "missed") != during || e[0].Int(t, "down_ms") <= 0 {
		t.Errorf("lost_while_down: %v, want %d", e, during)
	}
	pass()
	late := numbered(t, during, broadcast)
	send(t, p[0], late)
	p[1].Expect(t, waitLimit, among(late))
	stop(t, next)
	if e := next.Events("upcalls_lost"); len(e) != 0 {
		t.Errorf("upcalls_lost counts them again: %v", e)
	}
	if got := p[1].Count(t, among(numbered(t, 0, broadcast))); got != 0 {
		t.Error("a packet that was lost arrived")
	}
}
