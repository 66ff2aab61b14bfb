//go:build lab && systemd

package systemd_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// TestCPULimit: the number of handlers follows the unit's CPU quota and CPU set instead of the
// machine's CPUs, and a change at run time is logged.
func TestCPULimit(t *testing.T) {
	for _, c := range []struct{ name, dropIn string }{
		{"quota", "[Service]\nCPUQuota=100%\n"},
		{"CPUs", "[Service]\nAllowedCPUs=0\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := start(t, c.dropIn)
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
			tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", s.number(t, "MainPID")))
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
