//go:build lab

package kernel_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// autoload holds the path of the program that the kernel runs to load a module.
const autoload = "/proc/sys/kernel/modprobe"

// unload removes the openvswitch module, or skips the test if there is none. Namespaces of earlier
// tests may still hold datapaths briefly.
func unload(t *testing.T) {
	t.Helper()
	lab.Need(t, "openvswitch as a module", func() error {
		for within := lab.Within(waitLimit); ; time.Sleep(100 * time.Millisecond) {
			_, err := lab.Root(t).Try("modprobe", "-r", "vport_vxlan", "vport_geneve", "vport_gre", "openvswitch")
			if err == nil || within.Passed() || strings.Contains(err.Error(), "builtin") ||
				strings.Contains(err.Error(), "not found") {
				return err
			}
		}
	})
	t.Cleanup(func() { lab.Root(t).Run(t, "modprobe", "openvswitch") })
}

// write sets the content of a file for the duration of the test.
func write(t *testing.T, path, text string) {
	t.Helper()
	old, err := os.ReadFile(path)
	existed := err == nil
	if err = os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if existed {
			err = os.WriteFile(path, old, 0o644)
		} else {
			err = os.Remove(path)
		}
		if err != nil {
			t.Error(err)
		}
	})
}

// TestModule starts the daemon without the openvswitch module.
func TestModule(t *testing.T) {
	unload(t)
	n := newQuietNetwork(t, 0)
	again := func() { lab.Root(t).Run(t, "modprobe", "-r", "openvswitch") }
	cfg := settings{"datapath": fmt.Sprintf("{name: %s, on_exit: delete}", n.dpName)}
	waiting := settings{"datapath": cfg["datapath"], "wait_for_module": "true"}

	t.Run("kernel loads it", func(t *testing.T) {
		stop(t, n.run(t, cfg))
	})
	again()
	write(t, autoload, "/nonexistent")
	t.Run("daemon loads it", func(t *testing.T) {
		// With a short PATH, as services have.
		d := n.sw.StartDaemon(t, n.config(cfg), "PATH=/nonexistent")
		d.Wait(t, time.Time{}, "module_loading", nil)
		d.Wait(t, time.Time{}, "ready", nil)
		stop(t, d)
	})
	again()
	block := "/etc/modprobe.d/block.conf"
	t.Run("cannot be loaded", func(t *testing.T) {
		write(t, block, "install openvswitch false\n")
		d := n.sw.StartDaemon(t, n.config(cfg))
		if code := d.WaitExit(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		d.Wait(t, time.Time{}, "module_load_failed", nil)
		e := d.Wait(t, time.Time{}, "failed", nil)
		for _, want := range []string{"modprobe openvswitch", "wait_for_module"} {
			if !strings.Contains(e.Text("error"), want) {
				t.Errorf("failed: %q does not give advice: %s", e.Text("error"), want)
			}
		}
	})
	t.Run("is waited for", func(t *testing.T) {
		var d *lab.Daemon
		t.Run("without it", func(t *testing.T) {
			write(t, block, "install openvswitch false\n")
			d = n.sw.StartDaemon(t, n.config(waiting))
			d.Wait(t, time.Time{}, "module_waiting", nil)
			if err := d.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
				t.Errorf("exit while it waits: %v", err)
			}
		})
		write(t, block, "install openvswitch false\n")
		d = n.sw.StartDaemon(t, n.config(waiting))
		d.Wait(t, time.Time{}, "module_waiting", nil)
		lab.Root(t).Run(t, "modprobe", "-i", "openvswitch")
		d.Wait(t, time.Time{}, "ready", nil)
		stop(t, d)
		if got := len(d.Events("module_waiting")); got != 1 {
			t.Errorf("%d events module_waiting, want 1", got)
		}
	})
}
