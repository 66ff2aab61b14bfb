//go:build lab

package kernel_test

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestNetnsOption: the daemon works in the namespace given by --netns, not in its own.
func TestNetnsOption(t *testing.T) {
	t.Parallel()
	for _, by := range []string{"name", "path"} {
		t.Run(by, func(t *testing.T) {
			n := newQuietNetwork(t, 2)
			where := n.sw.Name
			if by == "path" {
				where = n.sw.Path()
			}
			d := lab.Root(t).StartDaemon(t, n.config(settings{"netns": where}))
			d.Wait(t, time.Time{}, "ready", nil)
			if e := d.Events("starting"); e[0].Text("netns") != where {
				t.Errorf("starting: netns %q, want %q", e[0].Text("netns"), where)
			}
			p := n.sockets(t)
			exchange(t, p[0], p[1])
			// Notifications of that namespace arrive as well.
			since := time.Now()
			n.sw.DeleteLink(t, n.hosts[1].port)
			d.Wait(t, since, "port_removed", forPort(n.hosts[1].port))
			stop(t, d)
		})
	}
	t.Run("absent", func(t *testing.T) {
		n := newQuietNetwork(t, 0)
		d := n.sw.StartDaemon(t, n.config(settings{"netns": "no-such-namespace"}))
		if code := d.WaitExit(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if e := d.Events("failed"); len(e) != 1 || !strings.Contains(e[0].Text("error"), "no-such-namespace") {
			t.Errorf("failed: %v, want the namespace named", e)
		}
	})
}

// TestServiceManager checks the notifications of sd_notify(3).
func TestServiceManager(t *testing.T) {
	t.Parallel()
	const hosts = 7
	n := newQuietNetwork(t, hosts)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	next := func() string {
		t.Helper()
		buf := make([]byte, 4096)
		for within := lab.Within(lab.DaemonLimit); ; {
			if err := conn.SetReadDeadline(time.Now().Add(within.Left())); err != nil {
				t.Fatal(err)
			}
			size, err := conn.Read(buf)
			if errors.Is(err, os.ErrDeadlineExceeded) && !within.Passed() {
				continue
			}
			if err != nil {
				t.Fatalf("notification: %v", err)
			}
			return string(buf[:size])
		}
	}
	n.sw.DPCtl(t, "add-dp", n.dpName)
	n.sw.DPCtl(t, "add-if", n.dpName, n.hosts[3].port)
	d := n.sw.StartDaemon(t, n.config(nil), "NOTIFY_SOCKET="+path)
	got := next()
	// When READY=1 arrives, everything must be in place.
	v := n.view(t)
	ports := v.vports(t)
	if !strings.HasPrefix(got, "READY=1\n") || !strings.Contains(got, "STATUS=") {
		t.Errorf("first notification %q, want READY=1 and STATUS", got)
	}
	served := 0
	byCPU := perCPU && !slices.Contains(v.listeners(t).pids(), 0)
	for _, p := range ports {
		if byCPU || len(p.UpcallPIDs) == 1 && p.UpcallPIDs[0] != 0 {
			served++
		}
	}
	if len(ports) != hosts+1 || served != hosts+1 {
		t.Errorf("READY=1 came with %d ports, of which %d are served; want %d", len(ports), served, hosts+1)
	}
	if err := d.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
		t.Error(err)
	}
	if got := next(); !strings.HasPrefix(got, "STOPPING=1") {
		t.Errorf("second notification %q, want STOPPING=1", got)
	}
}
