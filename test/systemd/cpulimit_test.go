//go:build lab && systemd

package systemd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestCPULimit: the number of handlers follows the unit's CPU quota and CPU set instead of the
// machine's CPUs, and a change at run time is logged. On one CPU, a port that floods costs another
// port no packet.
func TestCPULimit(t *testing.T) {
	for _, c := range []struct{ name, dropIn string }{
		{"quota", "[Service]\nCPUQuota=100%\n"},
		{"CPUs", "[Service]\nAllowedCPUs=0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			port := lab.Name("port")
			flooder := lab.Host(t, lab.Root(t), port, "")
			s := start(t, c.dropIn, port)
			ready := s.journal.Wait(t, time.Time{}, "ready", nil)
			if got := ready.Int(t, "handlers"); got != 1 {
				t.Errorf("%d handlers with one CPU", got)
			}
			s.pass(t)
			loaded := time.Now()
			s.send(t, 1000, 1000)
			stats := s.journal.Wait(t, loaded, "stats", func(e lab.Event) bool { return e.Int(t, "upcalls_delta") > 100 })
			t.Logf("%s upcalls in %s ms: upcall_us_p50 %s, p99 %s, max %s", stats.Text("upcalls_delta"),
				stats.Text("interval_ms"), stats.Text("upcall_us_p50"), stats.Text("upcall_us_p99"), stats.Text("upcall_us_max"))
			pid := s.number(t, "MainPID")
			// The system call returns 20 minus the nice value.
			if got, err := unix.Getpriority(unix.PRIO_PROCESS, pid); err != nil || got != 30 {
				t.Errorf("nice value %d of the service (error %v), want -10", 20-got, err)
			}
			if c.name == "CPUs" {
				t.Logf("20 new flows/s: %v", s.firstPackets(t, 40))
				end := s.flood(t, flooder)
				t.Logf("20 new flows/s beside a flood: %v", s.firstPackets(t, 40))
				end()
			}
			tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("%d threads", len(tasks))
			if most := 1 + 10; len(tasks) > most {
				t.Errorf("%d threads with one CPU, want at most %d", len(tasks), most)
			}
			property, _, _ := strings.Cut(strings.TrimPrefix(c.dropIn, "[Service]\n"), "=")
			s.systemctl(t, "set-property", "--runtime", s.unit,
				property+"="+map[string]string{"CPUQuota": "200%", "AllowedCPUs": "0-1"}[property])
			changed := s.journal.Wait(t, time.Time{}, "cpu_limit_changed", func(e lab.Event) bool {
				return e.Int(t, "cpu_limit") == 2
			})
			if changed.Int(t, "cpu_limit_before") != 1 || changed.Int(t, "handlers") != 1 {
				t.Errorf("cpu_limit_changed: %v", changed.Fields)
			}
			s.pass(t)
		})
	}
}
