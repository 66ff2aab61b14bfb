//go:build lab && systemd

package systemd_test

import (
	"strings"
	"testing"

	"dpifd/internal/lab"
)

// TestBoot: what the other tests stand on.
func TestBoot(t *testing.T) {
	root := lab.Root(t)
	if got := strings.TrimSpace(root.Run(t, "systemctl", "is-system-running", "--wait")); got != "running" {
		t.Errorf("the system is %s, want running:\n%s", got, root.Run(t, "systemctl", "--failed", "--no-pager"))
	}
	// The kernel has what modules-load.d names.
	if out := root.Run(t, "lsmod"); !strings.Contains(out, "openvswitch") {
		t.Errorf("modules-load.d had no effect:\n%s", out)
	}
	root.Run(t, "dpkg", "--list")
}
