//go:build lab

package kernel_test

import (
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
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
	contained := func(log io.Writer, args ...string) *exec.Cmd {
		cmd := exec.Command("/usr/sbin/dpifd", args...)
		cmd.Err = nil // the path is resolved in the new root
		cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = []string{}, "/", log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWIPC,
			Credential: &syscall.Credential{Uid: nobody, Gid: nobody}, AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}}
		return cmd
	}
	log := filepath.Join(t.TempDir(), "log")
	out, err := os.Create(log)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	d := contained(out, "run", "--config", "/etc/dpifd/dpifd.yaml")
	if err := n.sw.Do(d.Start); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- d.Wait() }()
	said := func() string {
		text, err := os.ReadFile(log)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(said())
		}
	})
	var events []string
	eventually(t, lab.DaemonLimit, "the daemon is ready", func() bool {
		events = eventNames(said())
		return slices.Contains(events, "ready")
	})
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	var status []byte
	ask := contained(nil, "stats", n.dpName)
	ask.Stdout, ask.Stderr = nil, nil
	if err := n.sw.Do(func() (err error) { status, err = ask.CombinedOutput(); return err }); err != nil {
		t.Errorf("stats: %v\n%s", err, status)
	}
	if err := d.Process.Signal(unix.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the daemon ended: %v", err)
		}
	case <-time.After(lab.DaemonLimit):
		_ = d.Process.Kill()
		t.Error("the daemon does not exit")
	}
	for _, bad := range []string{"checkpoint_failed", "control_unavailable", "lock_unavailable", "failed"} {
		if slices.Contains(eventNames(said()), bad) {
			t.Errorf("event %s", bad)
		}
	}
}

// eventNames returns the event names in a log, whose lines must have the format of docs/LOGS.md.
func eventNames(log string) (names []string) {
	for line := range strings.Lines(log) {
		if e, err := lab.CheckLine(line); err == nil {
			names = append(names, e.Name)
		}
	}
	return names
}
