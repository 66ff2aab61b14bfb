//go:build lab

package kernel_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestSecondDaemon: a datapath has one daemon. A second one exits at once and names the first,
// whatever else it is configured to do; a datapath of the same name in another namespace is not
// affected.
func TestSecondDaemon(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	for what, s := range map[string]settings{
		"same file":       nil,
		"no control":      {"control": "{socket: off}"},
		"netns by a path": {"netns": n.sw.Path()},
	} {
		second := n.sw.StartDaemon(t, n.config(s))
		if code := second.WaitExit(t); code != 1 {
			t.Errorf("%s: exit code %d, want 1", what, code)
		}
		failed := second.Events("failed")
		if want := fmt.Sprintf("process %d ", d.PID()); len(failed) != 1 || !strings.Contains(failed[0].Text("error"), want) {
			t.Errorf("%s: failed %v, want %q in the error", what, failed, want)
		}
	}
	if e := append(d.Events("upcall_pid_restored"), d.Events("features_restored")...); len(e) > 0 {
		t.Errorf("the second daemon touched the datapath: %v", e)
	}
	p := n.sockets(t)
	exchange(t, p[0], p[1])

	elsewhere := newQuietNetwork(t, 2)
	elsewhere.dpName = n.dpName
	other := elsewhere.run(t, nil)
	if err := other.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
		t.Errorf("a datapath of the same name elsewhere: %v", err)
	}

	// The lock ends with the process, and survives an exec.
	since := time.Now()
	signal(t, d, unix.SIGUSR2)
	d.Wait(t, since, "ready", nil)
	second := n.sw.StartDaemon(t, n.config(nil))
	if code := second.WaitExit(t); code != 1 {
		t.Errorf("after an exec: exit code %d, want 1", code)
	}
	signal(t, d, unix.SIGKILL)
	d.WaitExit(t)
	n.run(t, nil)
}

// TestRenamedLocalPort: the datapath has the name of its local port. After a rename, a daemon that
// is configured with the new name detects that the datapath is served.
func TestRenamedLocalPort(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	renamed := lab.Name("br")
	n.sw.Run(t, "ip", "link", "set", n.dpName, "name", renamed)
	second := n.sw.StartDaemon(t, n.config(settings{"datapath": "{name: " + renamed + "}"}))
	if code := second.WaitExit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if want := fmt.Sprintf("process %d ", d.PID()); !strings.Contains(second.Output(), want) {
		t.Errorf("the second daemon does not say %q", want)
	}
	// After a restart the first daemon finds the datapath by its new name.
	for _, sig := range []unix.Signal{unix.SIGUSR2, unix.SIGKILL} {
		since := time.Now()
		signal(t, d, sig)
		if sig == unix.SIGKILL {
			d.WaitExit(t)
			d = n.sw.StartDaemon(t, n.config(nil))
		}
		if e := d.Wait(t, since, "datapath_renamed", nil); e.Text("local_port") != renamed {
			t.Errorf("datapath_renamed: %v", e.Fields)
		}
		d.Wait(t, since, "ready", nil)
		// ovs-dpctl cannot open it: the kernel looks it up in the hash bucket of the former name.
		if list := showJSON(t, n.sw); len(list) != 1 || list[0].Name != renamed {
			t.Errorf("datapaths: %+v, want %s alone", list, renamed)
		}
	}
	p := n.sockets(t)
	exchange(t, p[0], p[1])
}

// logReader starts the daemon with a FIFO as its log, and returns the read end of the FIFO.
func logReader(t *testing.T, n *network, s settings) (*lab.Process, *os.File) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	reader, err := os.OpenFile(path, os.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reader.Close() })
	writer, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(lab.DaemonPath(t), "run", "--config", lab.WriteConfig(t, n.config(s)))
	cmd.Stderr = writer
	defer writer.Close()
	return n.sw.StartCommand(t, cmd), reader
}

// TestStalledLog: a log reader that stalls or exits delays neither forwarding nor control nor the
// stop, and on_exit is carried out.
func TestStalledLog(t *testing.T) {
	t.Parallel()
	for _, gone := range []bool{false, true} {
		t.Run(map[bool]string{false: "stalled", true: "gone"}[gone], func(t *testing.T) {
			t.Parallel()
			n := newQuietNetwork(t, 2)
			d, reader := logReader(t, n, settings{
				"datapath": "{name: " + n.dpName + ", on_exit: delete}",
				"log":      "{stats_interval: 100ms, level: debug}",
			})
			stat := func(name string) string {
				out, err := n.sw.Try(lab.DaemonPath(t), "stats", n.dpName)
				if err != nil {
					return ""
				}
				for line := range strings.Lines(out) {
					if f := strings.Fields(line); len(f) > 1 && f[0] == name {
						return f[1]
					}
				}
				return ""
			}
			eventually(t, lab.DaemonLimit, "the daemon to answer", func() bool { return stat("upcalls") != "" })
			if gone {
				reader.Close()
			}
			p := n.sockets(t)
			for i := 0; ; i++ {
				mac := fmt.Sprintf("02:00:00:77:%02x:%02x", i>>8, i&0xff)
				hello := frame(t, broadcast, mac)
				send(t, p[0], hello)
				p[1].Expect(t, waitLimit, among(hello))
				if i%100 == 0 {
					if dropped := stat("log_dropped"); dropped == "" {
						t.Fatal("dpifd stats has no log_dropped")
					} else if dropped != "0" {
						break
					}
				}
				if i == 10_000 {
					t.Fatal("no line was dropped")
				}
			}
			if err := d.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
				t.Errorf("exit: %v", err)
			}
			if out := n.sw.DPCtl(t, "dump-dps"); strings.Contains(out, n.dpName) {
				t.Errorf("on_exit: delete was not carried out: %s", out)
			}
		})
	}
}
