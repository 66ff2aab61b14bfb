//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// remove unloads the openvswitch module after its datapaths were deleted.
func remove(t *testing.T) {
	t.Helper()
	for within := lab.Within(waitLimit); ; time.Sleep(20 * time.Millisecond) {
		_, err := lab.Root(t).Try("modprobe", "-r", "vport_vxlan", "vport_geneve", "vport_gre", "openvswitch")
		if err == nil {
			return
		}
		if within.Passed() {
			t.Fatalf("the module cannot be removed: %v\n%s", err, lab.Root(t).Run(t, "cat", "/proc/modules"))
		}
	}
}

// TestModuleGoesAway unloads the openvswitch module under a running daemon and loads it again,
// after which the generic netlink families have other ids. The module can be unloaded only without
// datapaths, so a daemon that may create one is stopped meanwhile.
func TestModuleGoesAway(t *testing.T) {
	unload(t)
	load := func() { lab.Root(t).Run(t, "modprobe", "openvswitch") }
	load()
	// Otherwise the kernel would load it when the daemon looks up the families.
	write(t, autoload, "/nonexistent")

	for _, tt := range []struct {
		name, create string
		between      func(t *testing.T, n *network, d *lab.Daemon, since time.Time)
	}{
		{"a datapath that may not be created", "false", func(t *testing.T, n *network, d *lab.Daemon, since time.Time) {
			d.Wait(t, since, "datapath_gone", nil)
			remove(t)
			d.Wait(t, since, "module_waiting", nil)
			load()
			n.sw.DPCtl(t, "add-dp", n.dpName)
		}},
		{"it is back before the daemon looks", "true", func(t *testing.T, n *network, d *lab.Daemon, since time.Time) {
			remove(t)
			load()
			signal(t, d, unix.SIGCONT)
		}},
		{"it stays away", "true", func(t *testing.T, n *network, d *lab.Daemon, since time.Time) {
			remove(t)
			signal(t, d, unix.SIGCONT)
			d.Wait(t, since, "datapath_gone", nil)
			d.Wait(t, since, "module_waiting", nil)
			load()
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			n := newQuietNetwork(t, 2)
			if tt.create == "false" {
				n.sw.DPCtl(t, "add-dp", n.dpName)
			}
			d := n.run(t, settings{"datapath": fmt.Sprintf("{name: %s, create: %s, on_exit: delete}", n.dpName, tt.create),
				"log": "{stats_interval: 500ms}"})
			p := n.sockets(t)
			exchange(t, p[0], p[1])
			now := func() holdings {
				e := d.Wait(t, time.Now(), "stats", nil)
				return holdings{settledCensus(t, d), e.Int(t, "goroutines")}
			}
			before := now()
			for range 2 {
				since := time.Now()
				if tt.create == "true" {
					n.haltIdle(t, d)
				}
				n.sw.DPCtl(t, "del-dp", n.dpName)
				tt.between(t, n, d, since)
				if e := d.Wait(t, since, "datapath_gone", nil); e.Level != "ERROR" {
					t.Errorf("datapath_gone at level %s", e.Level)
				}
				d.Wait(t, since, "ready", nil)
				exchange(t, p[0], p[1])
			}
			checkLeaks(t, before, 0, now)
			if got := d.Wait(t, time.Now(), "stats", nil).Int(t, "upcalls"); got < 6 {
				t.Errorf("%d upcalls in all, want those of three exchanges", got)
			}
			stop(t, d)
		})
	}
}

// haltIdle stops the daemon while no dump runs, since a dump holds a reference to the module.
func (n *network) haltIdle(t *testing.T, d *lab.Daemon) {
	t.Helper()
	eventually(t, waitLimit, "the daemon is stopped outside of a dump", func() bool {
		halt(t, d)
		for line := range strings.Lines(n.sw.Run(t, "cat", "/proc/thread-self/net/netlink")) {
			// sk Eth Pid Groups Rmem Wmem Dump
			if f := strings.Fields(line); len(f) > 6 && f[1] == fmt.Sprint(unix.NETLINK_GENERIC) && f[6] != "0" {
				t.Log("stopped during a dump, trying again")
				signal(t, d, unix.SIGCONT)
				return false
			}
		}
		return true
	})
}

func signal(t *testing.T, d *lab.Daemon, sig unix.Signal) {
	t.Helper()
	if err := unix.Kill(d.PID(), sig); err != nil {
		t.Fatal(err)
	}
}
