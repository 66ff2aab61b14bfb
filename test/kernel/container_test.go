//go:build lab

package kernel_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestContainer runs the daemon as docs/CONTAINERS.md describes: the program alone in a root
// directory with /proc, /sys and the mounted files, as a user other than root, with CAP_NET_ADMIN.
// It must serve, and a command in the same root directory must reach it.
func TestContainer(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	root := t.TempDir()
	put := func(from, to string, mode os.FileMode) {
		t.Helper()
		in, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		to = filepath.Join(root, to)
		if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(to, in, mode); err != nil {
			t.Fatal(err)
		}
	}
	const nobody = 65534
	put(lab.DaemonPath(t), "usr/sbin/dpifd", 0o755)
	put(lab.WriteConfig(t, n.config(settings{"control": `{group: ""}`})), "etc/dpifd/dpifd.yaml", 0o644)
	run := filepath.Join(root, "run/dpifd")
	if err := os.MkdirAll(run, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(run, nobody, nobody); err != nil {
		t.Fatal(err)
	}
	for name, fs := range map[string]string{"proc": "proc", "sys": "sysfs"} {
		dir := filepath.Join(root, name)
		if err := os.Mkdir(dir, 0o555); err != nil {
			t.Fatal(err)
		}
		if err := unix.Mount(fs, dir, fs, 0, ""); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	for dir := root; dir != "/" && dir != os.TempDir(); dir = filepath.Dir(dir) {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	contained := func(args ...string) *exec.Cmd {
		cmd := exec.Command("/usr/sbin/dpifd", args...)
		cmd.Err = nil // the path is resolved in the new root
		cmd.Env, cmd.Dir = []string{}, "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWIPC,
			Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}}
		return cmd
	}
	d := n.sw.StartDaemonCommand(t, contained("run", "--config", "/etc/dpifd/dpifd.yaml"))
	d.Wait(t, time.Time{}, "ready", nil)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	if p := n.sw.StartCommand(t, contained("stats", n.dpName)); p.WaitExit(t) != 0 {
		t.Errorf("stats:\n%s", p.Output())
	}
	stop(t, d)
	for _, bad := range []string{"checkpoint_failed", "control_unavailable", "lock_unavailable", "failed"} {
		if e := d.Events(bad); len(e) > 0 {
			t.Errorf("%s: %v", bad, e)
		}
	}
}
