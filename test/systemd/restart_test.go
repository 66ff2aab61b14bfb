//go:build lab && systemd

package systemd_test

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// TestRestartLosesNothing restarts the service repeatedly while new flows arrive; each packet must
// be forwarded. Packets that a slow machine loses nevertheless must have been dropped by full
// sockets, not by missing ones.
func TestRestartLosesNothing(t *testing.T) {
	const rate, restarts, count = 2_000, 10, 40_000
	s := start(t, "")
	before := s.pids(t)
	if got := s.number(t, "NFileDescriptorStore"); got != len(before) {
		t.Errorf("the store holds %d descriptors, want %d", got, len(before))
	}
	done := make(chan struct{})
	lab.Go(t, func(context.Context) { defer close(done); s.send(t, count, rate) })
	pid := s.property(t, "MainPID")
	for i := range restarts {
		since := time.Now()
		s.systemctl(t, "restart", s.unit) // returns when the service is ready
		took := time.Since(since)
		if e := s.journal.Wait(t, since, "handed_over", nil); e.Text("to") != "service_manager" ||
			e.Int(t, "not_handed_over") != 0 {
			t.Errorf("handed_over: %v", e.Fields)
		}
		if e := s.journal.Wait(t, since, "sockets_adopted", nil); e.Int(t, "adopted") != int64(len(before)) ||
			e.Int(t, "closed") != 0 {
			t.Errorf("sockets_adopted: %v, want %d", e.Fields, len(before))
		}
		next := s.property(t, "MainPID")
		if next == pid {
			t.Error("the process is the same")
		}
		pid = next
		t.Logf("restart %d took %v", i+1, took.Round(time.Millisecond))
		time.Sleep(time.Second) // so that the load spans all restarts
	}
	if diff := cmp.Diff(before, s.pids(t)); diff != "" {
		t.Errorf("upcall PIDs (-before the restarts +after):\n%s", diff)
	}
	<-done
	s.eventually(t, "each packet arrives or is counted as lost", func() bool {
		return s.arrived.Count()+int(s.stats(t).Lost) >= count
	})
	stats := s.stats(t)
	drops := s.root.SocketDrops(t, slices.Collect(maps.Values(before))...)
	t.Logf("%d packets, %d arrived; kernel: missed %d, lost %d; dropped by full sockets: %d",
		count, s.arrived.Count(), stats.Missed, stats.Lost, drops)
	// Other packets than the test's may be lost too: those missed beyond its count.
	others := int(stats.Missed) - count
	if unexplained := count - s.arrived.Count() - int(stats.Lost); unexplained > 0 || unexplained < -others {
		t.Errorf("%d packets are unexplained", unexplained)
	}
	if int(stats.Lost) != drops {
		t.Errorf("the kernel lost %d upcalls, full sockets %d of these", stats.Lost, drops)
	}
}

// TestKillLosesNothing: the descriptor store keeps the sockets when the process is killed.
func TestKillLosesNothing(t *testing.T) {
	s := start(t, "")
	before := s.pids(t)
	s.pass(t)
	for range 3 {
		since := time.Now()
		if err := unix.Kill(s.number(t, "MainPID"), unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// Meanwhile there is no daemon.
		s.send(t, 200, 2_000)
		if e := s.journal.Wait(t, since, "sockets_adopted", nil); e.Int(t, "adopted") != int64(len(before)) {
			t.Errorf("sockets_adopted: %v, want %d", e.Fields, len(before))
		}
		s.journal.Wait(t, since, "ready", nil)
		s.pass(t)
	}
	if lost := s.stats(t).Lost; lost != 0 {
		t.Errorf("lost %d", lost)
	}
	if diff := cmp.Diff(before, s.pids(t)); diff != "" {
		t.Errorf("upcall PIDs (-before +after):\n%s", diff)
	}
}

// TestStop: unlike a restart, a stop disables upcalls and empties the descriptor store.
func TestStop(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	s.pass(t)
	s.systemctl(t, "stop", s.unit)
	if state, result := s.property(t, "ActiveState"), s.property(t, "Result"); state != "inactive" || result != "success" {
		t.Errorf("the unit is %s, %s", state, result)
	}
	for name, pid := range s.pids(t) {
		if pid != 0 {
			t.Errorf("port %s still has upcall PID %d", name, pid)
		}
	}
	if got := s.number(t, "NFileDescriptorStore"); got != 0 {
		t.Errorf("the store still holds %d descriptors", got)
	}
	s.systemctl(t, "start", s.unit)
	s.pass(t)
}

// TestPortGoes: the socket of a removed port is removed from the descriptor store.
func TestPortGoes(t *testing.T) {
	t.Parallel()
	s := start(t, "")
	since := time.Now()
	before := s.number(t, "NFileDescriptorStore")
	s.root.DeleteLink(t, s.ports[1])
	s.journal.Wait(t, since, "port_removed", nil)
	s.eventually(t, "the store releases the socket", func() bool {
		return s.number(t, "NFileDescriptorStore") == before-1
	})
}
