//go:build lab && systemd

package systemd_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestWatchdog: a daemon that makes no progress is killed and restarted, and packets that arrived
// meanwhile are forwarded; a daemon that makes progress is not killed.
func TestWatchdog(t *testing.T) {
	const interval, tries = 3 * time.Second, 3
	s := start(t, fmt.Sprintf("[Service]\nWatchdogSec=%ds\n", interval/time.Second))
	s.pass(t)
	// Wait for three watchdog intervals. If the host stalls the CPUs for half an interval, no
	// progress is possible, so try again.
	before := 0
	for try := 1; ; try++ {
		before = s.number(t, "NRestarts")
		watch := lab.StartStopwatch()
		for deadline := time.Now().Add(3 * interval); time.Now().Before(deadline); time.Sleep(500 * time.Millisecond) {
			s.pass(t)
		}
		got, stalled := s.number(t, "NRestarts"), watch.Stalled()
		if got == before {
			break
		}
		if stalled < interval/2 || try == tries {
			t.Fatalf("restarted %d times without a cause; the guest stalled for %v", got-before, stalled)
		}
		t.Logf("try %d: restarted %d times while the guest stalled for %v", try, got-before, stalled)
	}
	pid := s.number(t, "MainPID")
	since := time.Now()
	if err := unix.Kill(pid, unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	// Upcalls received by a thread that has not stopped yet would be lost with it.
	s.eventually(t, "all threads are stopped", func() bool { return stopped(t, pid) })
	s.send(t, 100, 1_000)
	s.eventually(t, "the watchdog restarts the daemon", func() bool {
		return s.number(t, "NRestarts") == before+1
	})
	s.journal.Wait(t, since, "ready", nil)
	t.Logf("traffic is back %v after SIGSTOP", time.Since(since).Round(100*time.Millisecond))
	s.pass(t) // includes the packets sent while it was stopped
	if lost := s.stats(t).Lost; lost != 0 {
		t.Errorf("lost %d", lost)
	}
}

// stopped reports whether all threads of a process are in state T (proc(5), stat).
func stopped(t *testing.T, pid int) bool {
	t.Helper()
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(files) == 0 {
		t.Fatalf("threads of process %d: %v, %v", pid, files, err)
	}
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		// The state follows the name, which is in parentheses and may contain any character.
		if _, state, _ := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " "); !strings.HasPrefix(state, "T") {
			return false
		}
	}
	return true
}
