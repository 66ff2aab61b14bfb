//go:build lab && systemd

package systemd_test

import (
	"strings"
	"testing"

	"dpifd/internal/lab"
)

// TestBoot checks what the other tests rely on.
func TestBoot(t *testing.T) {
	root := lab.Root(t)
	if got := strings.TrimSpace(root.Run(t, "systemctl", "is-system-running", "--wait")); got != "running" {
		t.Errorf("the system is %s, want running:\n%s", got, root.Run(t, "systemctl", "--failed", "--no-pager"))
	}
	// The kernel has loaded the modules listed in modules-load.d.
	if out := root.Run(t, "lsmod"); !strings.Contains(out, "openvswitch") {
		t.Errorf("modules-load.d had no effect:\n%s", out)
	}
	root.Run(t, "dpkg", "--list")
}
