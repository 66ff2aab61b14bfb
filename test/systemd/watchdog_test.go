//go:build lab && systemd

package systemd_test

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestWatchdog: a daemon that makes no progress is killed and started again, and
// new flows that came meanwhile are forwarded then; one that makes progress is
// left alone.
func TestWatchdog(t *testing.T) {
	s := start(t, "[Service]\nWatchdogSec=3s\n")
	s.pass(t)
	pid := s.number(t, "MainPID")
	// Three of its intervals.
	for deadline := time.Now().Add(9 * time.Second); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
		s.pass(t)
	}
	if got := s.number(t, "NRestarts"); got != 0 || s.number(t, "MainPID") != pid {
		t.Fatalf("restarted %d times without a cause", got)
	}
	since := time.Now()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.send(t, 100, 1_000)
	s.eventually(t, "the watchdog has the daemon started again", func() bool { return s.number(t, "NRestarts") == 1 })
	s.journal.Wait(t, since, "ready", nil)
	t.Logf("traffic is back %v after SIGSTOP", time.Since(since).Round(100*time.Millisecond))
	s.pass(t) // and with it what was sent in between
	if lost := s.stats(t).Lost; lost != 0 {
		t.Errorf("lost %d", lost)
	}
}
