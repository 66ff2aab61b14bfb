//go:build lab

package kernel_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"dpifd/internal/lab"
	"dpifd/internal/overview"

	"golang.org/x/sys/unix"
)

// TestStatus checks dpifd status for a running daemon, for one with a problem, and for a datapath
// without a daemon.
func TestStatus(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 2, 0)
	a, b := n.hosts[0], n.hosts[1]
	file := lab.WriteConfig(t,
		n.config(settings{"ports": "[{name: " + a.port + ", vlan: {native: 7}}, {name: " + b.port + ", vlan: {native: 7}}]"}))
	d := n.sw.StartDaemonFile(t, file)
	d.Wait(t, time.Time{}, "ready", nil)
	ping(t, a.NetNS, b.ip4, 3, 56)
	w := newWatcher(t, n.sw, n.dpName)
	var o overview.Overview
	w.unchanged("dpifd status", func() {
		out := dpifd(t, n.sw, "status", n.dpName, "-o", "json")
		if err := json.Unmarshal([]byte(out), &o); err != nil {
			t.Fatalf("%v in %s", err, out)
		}
	})
	i := slices.IndexFunc(o.Ports, func(p overview.Port) bool { return p.Name == a.port })
	if o.Policy != "learning" || o.MACs < 2 || len(o.Problems) != 0 || len(o.Ports) != 3 || i < 0 {
		t.Fatalf("status: %+v", o)
	}
	if p := o.Ports[i]; p.VLAN != "trunk all native 7" || p.Link != "up" || p.MACs < 1 {
		t.Errorf("port %+v", p)
	}
	if text := dpifd(t, n.sw, "status", n.dpName); !strings.HasPrefix(text, n.dpName+"  policy learning") ||
		!strings.Contains(text, "\nhealthy\n") {
		t.Errorf("status:\n%s", text)
	}
	a.SetLink(t, "eth0", false)
	wantFailure(t, n.sw, 1, "\nproblem: "+a.port+" has no carrier\n", "status", n.dpName)
	stop(t, d)
	wantFailure(t, n.sw, 1, "\nproblem: no daemon answers: ", "status", n.dpName)
}

// TestTopOnTerminal runs dpifd top on a pseudo-terminal: it shows ports, then flows, and exits on a
// key.
func TestTopOnTerminal(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 2, 0)
	n.run(t, settings{})
	ping(t, n.hosts[0].NetNS, n.hosts[1].ip4, 3, 56)
	master, slave := terminal(t)
	cmd := exec.Command(lab.DaemonPath(t), "top", n.dpName, "--interval", "300ms")
	cmd.Env = append(os.Environ(), "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	top := n.sw.StartCommand(t, cmd)
	_ = slave.Close()
	var drawing sync.Mutex
	var drawn strings.Builder
	lab.Go(t, func(ctx context.Context) {
		fds := []unix.PollFd{{Fd: int32(master.Fd()), Events: unix.POLLIN}}
		for buf := make([]byte, 4096); ctx.Err() == nil; {
			if ready, err := unix.Poll(fds, 50); ready == 0 || err != nil {
				continue
			}
			k, err := master.Read(buf)
			if err != nil {
				return // EIO: the program has exited
			}
			drawing.Lock()
			drawn.Write(buf[:k])
			drawing.Unlock()
		}
	})
	waitFor := func(text string) {
		t.Helper()
		eventually(t, waitLimit, "the terminal shows "+text, func() bool {
			ended := top.Exited()
			drawing.Lock()
			defer drawing.Unlock()
			shows := strings.Contains(drawn.String(), text)
			if ended && !shows {
				t.Fatalf("top ended without %q:\n%q", text, drawn.String())
			}
			return shows
		})
	}
	press := func(key string) {
		t.Helper()
		if _, err := master.WriteString(key); err != nil {
			t.Fatal(err)
		}
	}
	waitFor(n.hosts[1].port)
	press("f")
	waitFor("packets/s")
	waitFor("in_port(")
	press("q")
	if code := top.WaitExit(t); code != 0 {
		t.Errorf("top: exit code %d", code)
	}
}

// terminal returns both ends of a pseudo-terminal with 120 columns.
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	if err := os.MkdirAll("/dev/pts", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("devpts", "/dev/pts", "devpts", 0, "ptmxmode=0666"); err != nil && err != unix.EBUSY {
		t.Fatal(err)
	}
	master, err := os.OpenFile("/dev/pts/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	fd := int(master.Fd())
	if err := unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 30, Col: 120}); err != nil {
		t.Fatal(err)
	}
	no, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprint("/dev/pts/", no), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	return master, slave
}
