//go:build lab

package kernel_test

import (
	"fmt"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/test/bench/load"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// link calls fn with a device in the switch's namespace.
func (b *patchbay) link(t *testing.T, name string, fn func(netlink.Link) error) {
	t.Helper()
	err := b.sw.Do(func() error {
		link, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return fn(link)
	})
	if err != nil {
		t.Fatalf("device %s: %v", name, err)
	}
}

// TestPortChanges changes a port's device in each possible way, several times, and checks after
// each change that frames arrive only at the right ports and that nothing leaks.
func TestPortChanges(t *testing.T) {
	t.Parallel()
	const port, other = stablePlugs, stablePlugs + 1
	name := lab.PlugName(port)
	b := newPatchbay(t)
	b.Plug(t, port)
	d := b.run(t, settings{"ports": b.ports(other), "log": "{stats_interval: 500ms}"})
	v := b.view(t)
	b.send(t, witnessPlug, 0, leftPlug)
	both := func(i int) {
		b.reach(t, i, leftPlug)
		b.reach(t, leftPlug, i)
	}
	both(rightPlug)
	both(port)
	before := b.holdings(t, d, stablePlugs+2)
	added := func(since time.Time) {
		d.Wait(t, since, "port_added", forPort(name))
	}
	removed := func(since time.Time) {
		d.Wait(t, since, "port_removed", forPort(name))
	}
	exchange := func(t *testing.T, unseen bool) {
		no := v.portNo(t, name)
		// From here on, flows with this port number are about this device.
		both(port)
		since := time.Now()
		if unseen {
			signal(t, d, unix.SIGSTOP)
		}
		b.Plug(t, other)
		b.Unplug(t, port)
		if _, err := v.AddVport(lab.PlugName(other), dpif.VportNetdev, no, 0); err != nil {
			t.Fatal(err)
		}
		if unseen {
			signal(t, d, unix.SIGCONT)
		}
		e := d.Wait(t, since, "port_added", forPort(lab.PlugName(other)))
		if e.Text("port_no") != no.String() {
			t.Errorf("port_added: %v, want port_no %d", e.Fields, no)
		}
		// Frames for the former device may reach the new one only until the daemon notices the
		// change; the kernel's flows account for part of that time. From here on each frame is
		// checked.
		eventually(t, waitLimit, "no flow leads frames for the former device to the new one", func() bool {
			for f := range v.flows(t) {
				if f.actions == no.String() && f.eth[len(f.eth)-17:] == lab.PlugMAC(port, 0).String() {
					return false
				}
			}
			return true
		})
		for range 20 {
			b.send(t, leftPlug, 0, port)
		}
		both(other)
		since = time.Now()
		b.Plug(t, port)
		added(since)
		both(port)
		since = time.Now()
		b.Unplug(t, other)
		d.Wait(t, since, "port_removed", forPort(lab.PlugName(other)))
	}

	for _, tt := range []struct {
		name   string
		change func(t *testing.T)
	}{
		{"renamed", func(t *testing.T) {
			pid := v.vports(t)[name].UpcallPIDs[0]
			no := v.portNo(t, name)
			was, now := name, "other-name"
			for range 2 {
				// Linux before 6.2 cannot rename a device that is up.
				b.sw.SetLink(t, was, false)
				since := time.Now()
				b.link(t, was, func(l netlink.Link) error { return netlink.LinkSetName(l, now) })
				b.sw.SetLink(t, now, true)
				e := d.Wait(t, since, "port_renamed", forPort(now))
				if e.Text("was") != was || e.Text("port_no") != no.String() {
					t.Errorf("port_renamed: %v, want was %s and port_no %d", e.Fields, was, no)
				}
				both(port)
				was, now = now, was
			}
			// The configuration entry follows the device.
			if waits := d.Events("port_waiting"); len(waits) != 0 {
				t.Errorf("port_waiting: %v", waits)
			}
			if after := v.vports(t)[name]; after.No != no || after.UpcallPIDs[0] != pid {
				t.Errorf("port %d with PID %d, was %d with %d", after.No, after.UpcallPIDs[0], no, pid)
			}
		}},
		{"in another namespace and back", func(t *testing.T) {
			away := lab.NewNetNS(t, "away")
			since := time.Now()
			b.link(t, name, func(l netlink.Link) error { return netlink.LinkSetNsFd(l, away.FD()) })
			removed(since)
			d.Wait(t, since, "port_waiting", forPort(name))
			b.send(t, leftPlug, 0, port)
			since = time.Now()
			err := away.Do(func() error {
				link, err := netlink.LinkByName(name)
				if err != nil {
					return err
				}
				return netlink.LinkSetNsFd(link, b.sw.FD())
			})
			if err != nil {
				t.Fatal(err)
			}
			added(since)
			b.sw.SetLink(t, name, true)
			both(port)
		}},
		{"recreated immediately", func(t *testing.T) {
			since := time.Now()
			b.Unplug(t, port)
			b.Plug(t, port)
			added(since)
			both(port)
		}},
		{"detached from the datapath", func(t *testing.T) {
			since := time.Now()
			if err := v.DeleteVport(v.portNo(t, name)); err != nil {
				t.Fatal(err)
			}
			removed(since)
			added(since) // it is configured, and its device is there
			both(port)
		}},
		{"its number reused immediately by another device", func(t *testing.T) { exchange(t, false) }},
		// The daemon sees both changes at once, while flows of the former device still exist.
		{"its number reused while the daemon is stopped", func(t *testing.T) { exchange(t, true) }},
		{"another MTU", func(t *testing.T) {
			for _, mtu := range []int{1280, 9000, 576, 1500} {
				for _, ns := range []*lab.NetNS{b.sw, b.Far} {
					if err := ns.Do(func() error {
						link, err := netlink.LinkByName(name)
						if err != nil {
							return err
						}
						return netlink.LinkSetMTU(link, mtu)
					}); err != nil {
						t.Fatal(err)
					}
				}
				both(port)
			}
		}},
		{"down and up", func(t *testing.T) {
			for range 3 {
				b.sw.SetLink(t, name, false)
				b.send(t, leftPlug, 0, port)
				b.sw.SetLink(t, name, true)
				both(port)
				b.Far.SetLink(t, name, false)
				b.send(t, leftPlug, 0, port)
				b.Far.SetLink(t, name, true)
				both(port)
			}
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for range 3 {
				tt.change(t)
			}
			both(rightPlug)
			v.checkFlows(t)
			checkLeaks(t, before, 1, func() holdings { return b.holdings(t, d, stablePlugs+2) })
		})
	}
	stop(t, d)
	b.checkDelivery(t)
	for _, event := range []string{"port_failed", "revalidator_failed"} {
		if got := d.Events(event); len(got) != 0 {
			t.Errorf("%s: %v", event, got)
		}
	}
}

// TestNumberOfStaleFlows: frames that flows of an earlier run send to a deleted port do not reach the
// port that is attached at start and gets its number.
func TestNumberOfStaleFlows(t *testing.T) {
	t.Parallel()
	const former, late = stablePlugs, stablePlugs + 1
	b := newPatchbay(t)
	b.Plug(t, former)
	keep := settings{"ports": b.ports(late), "flows": "{max_idle: 60s}"}
	d := b.run(t, keep)
	v := b.view(t)
	b.send(t, witnessPlug, 0, leftPlug)
	b.reach(t, former, leftPlug)
	b.reach(t, leftPlug, former)
	no := v.portNo(t, lab.PlugName(former))
	eventually(t, waitLimit, "a flow to the port", func() bool {
		b.send(t, leftPlug, 0, former)
		for f := range v.flows(t) {
			if f.actions == no.String() {
				return true
			}
		}
		return false
	})
	if err := d.Stop(t, unix.SIGKILL, lab.DaemonLimit); err == nil {
		t.Error("exit code 0 after SIGKILL")
	}
	b.Unplug(t, former)
	b.Plug(t, late)
	end := beside(t, load.Endless, 500, func(int) error {
		b.send(t, leftPlug, 0, former)
		return nil
	})
	keep["ports"] = fmt.Sprintf("[{name: %s}]", lab.PlugName(late))
	d = b.run(t, keep)
	b.reach(t, late, leftPlug)
	b.reach(t, leftPlug, late)
	v.checkFlows(t)
	end()
	if got := v.portNo(t, lab.PlugName(late)); got != no {
		t.Errorf("port %s has number %d, not the former's %d: the test shows nothing", lab.PlugName(late), got, no)
	}
	stop(t, d)
	b.checkDelivery(t)
}
