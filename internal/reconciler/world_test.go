package reconciler

import (
	"errors"
	"fmt"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// modelDevices are the devices of the datapath's namespace.
type modelDevices struct {
	indexes map[string]uint32
	setUps  []string
	err     error // returned by SetUp
}

func (d *modelDevices) Prepare(p PortConfig) (string, error) { return "", nil }
func (d *modelDevices) Find(name string) uint32              { return d.indexes[name] }
func (d *modelDevices) Indexes() (map[string]uint32, error)  { return d.indexes, nil }
func (d *modelDevices) Candidates() ([]string, error)        { return nil, nil }
func (d *modelDevices) Sweep([]PortConfig) error             { return nil }

func (d *modelDevices) SetUp(p PortConfig, v *dpif.Vport, _ bool) error {
	d.setUps = append(d.setUps, fmt.Sprintf("%s %v %d", p.Name, v.Elsewhere, v.Netns))
	return d.err
}

// TestUpcallPIDFight: if another program changes a port's upcall PID repeatedly, it is restored at
// once at first, then rarely, and few events are logged.
func TestUpcallPIDFight(t *testing.T) {
	k := &modelKernel{vports: []dpif.Vport{{No: 1, Name: "va", Ifindex: 11}}}
	r, _, events := testReconciler(t, k)
	look(t, r, Look{Start: true})
	own := k.vports[0].UpcallPIDs[0]
	*events = nil
	const looks = 3 * restoreBurst
	for i := range looks {
		k.vports[0].UpcallPIDs = []uint32{4}
		look(t, r, Look{Changed: true})
		if restored := k.vports[0].UpcallPIDs[0] == own; i < restoreBurst-1 && !restored ||
			restored == r.restores.Postponed() {
			t.Fatalf("look %d: restored %v, postponed %v", i, restored, r.restores.Postponed())
		}
	}
	if n := r.restores.UpcallPIDs(); n < restoreBurst-1 || n > looks/2 {
		t.Errorf("%d restores in %d looks", n, looks)
	}
	if len(*events) == 0 || len(*events) > eventBurst+1 {
		t.Errorf("%d events", len(*events))
	}
}

// TestWithoutIfindex: kernels before 4.15 do not report the ifindex of vports. It is read over
// rtnetlink, and a port keeps its identity under any name.
func TestWithoutIfindex(t *testing.T) {
	name, pid := "va", uint32(0)
	dp := dpiftest.NewDatapath(t, func(q dpiftest.Request) ([][]byte, unix.Errno) {
		var e netlink.Encoder
		switch {
		case q.Family == dpiftest.DatapathFamily:
			e.Attr(3, make([]byte, 32)) // OVS_DP_ATTR_STATS
		case q.Family == dpiftest.VportFamily && q.Dump:
			// OVS_VPORT_ATTR_*: PORT_NO, TYPE, NAME, UPCALL_PID
			e.Uint32(1, 3)
			e.Uint32(2, uint32(dpif.VportNetdev))
			e.String(3, name)
			e.Uint32(5, pid)
		case q.Family == dpiftest.VportFamily:
			it := netlink.NewAttrs(q.Attrs)
			for it.Next() {
				if it.Type() == 5 {
					pid = it.Uint32()
				}
			}
			return nil, 0
		default:
			return nil, unix.EOPNOTSUPP
		}
		return [][]byte{e.Bytes()}, 0
	})
	d := &modelDevices{indexes: map[string]uint32{"va": 11}}
	r, _, _ := testReconciler(t, dp, PortConfig{Name: "va"})
	r.devices = newDevices(d)
	look(t, r, Look{Start: true})
	if p := r.Table().Load().Get(3); p == nil || p.ifindex != 11 || p.Socket.PortID() != pid {
		t.Fatalf("port 3 is %+v, upcalls go to %d", p, pid)
	}

	name, d.indexes = "vz", map[string]uint32{"vz": 11, "va": 12}
	removed, _ := look(t, r, Look{Changed: true})
	expect(t, "renamed", names(removed.Renamed, func(e PortRenamed) string { return e.Was + " " + e.Name }), "va vz")
	if got := r.bound.Entry(3); got != "va" {
		t.Errorf("the renamed port has entry %q", got)
	}

	// Another device with the same number and name.
	d.indexes = map[string]uint32{"vz": 15}
	removed, added := look(t, r, Look{Changed: true})
	expect(t, "removed", names(removed.Removed, func(e PortRemoved) string { return e.Name }), "vz")
	expect(t, "added", names(added.Added, addedName), "vz")
	if got := r.bound.Entry(odp.PortNo(3)); got != "" {
		t.Errorf("another device has entry %q", got)
	}
}

// TestSetUpAgain: a device is set up once, again after it has moved to another namespace, and at
// each look after an error, which is reported once.
func TestSetUpAgain(t *testing.T) {
	k := &modelKernel{vports: []dpif.Vport{{No: 1, Name: "tap", Type: dpif.VportInternal, Ifindex: 11}}}
	d := &modelDevices{indexes: map[string]uint32{"tap": 11}}
	r, _, events := testReconciler(t, k, PortConfig{Name: "tap", Type: dpif.VportInternal})
	r.devices = newDevices(d)
	look(t, r, Look{Start: true})
	look(t, r, Look{})
	k.vports[0].Elsewhere, k.vports[0].Netns = true, 5
	look(t, r, Look{Changed: true})
	look(t, r, Look{})
	d.err = errors.New("no")
	k.vports[0].Netns = 6
	look(t, r, Look{})
	look(t, r, Look{})
	d.err = nil
	look(t, r, Look{})
	look(t, r, Look{})
	expect(t, "set up", d.setUps, "tap false 0", "tap true 5", "tap true 6", "tap true 6", "tap true 6")
	failed := 0
	for _, e := range *events {
		if _, is := e.(PortSetupFailed); is {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("an error was reported %d times", failed)
	}
}
