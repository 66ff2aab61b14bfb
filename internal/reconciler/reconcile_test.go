package reconciler

import (
	"errors"
	"slices"
	"testing"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// modelKernel models the vports of a datapath in Linux >= 4.15, and the devices that may become
// vports.
type modelKernel struct {
	vports  []dpif.Vport
	devices map[string]uint32 // ifindex by name
}

func (k *modelKernel) Name() string                     { return "dp0" }
func (k *modelKernel) Info() (dpif.DatapathInfo, error) { return dpif.DatapathInfo{}, nil }
func (k *modelKernel) Vports() ([]dpif.Vport, error)    { return slices.Clone(k.vports), nil }

func (k *modelKernel) find(no odp.PortNo) int {
	return slices.IndexFunc(k.vports, func(v dpif.Vport) bool { return v.No == no })
}

func (k *modelKernel) AddVports(list []dpif.NewVport, done func(i int, v dpif.Vport, err error)) error {
	for i, n := range list {
		ifindex, ok := k.devices[n.Name]
		switch {
		case !ok:
			done(i, dpif.Vport{}, unix.ENODEV)
		case k.find(n.No) >= 0:
			done(i, dpif.Vport{}, unix.EBUSY)
		default:
			v := dpif.Vport{No: n.No, Name: n.Name, Type: n.Type, Ifindex: ifindex, UpcallPIDs: []uint32{n.UpcallPID}}
			k.vports = append(k.vports, v)
			done(i, v, nil)
		}
	}
	return nil
}

func (k *modelKernel) DeleteVport(no odp.PortNo) error {
	i := k.find(no)
	if i < 0 {
		return unix.ENODEV
	}
	k.vports = slices.Delete(k.vports, i, i+1)
	return nil
}

func (k *modelKernel) SetUpcallPID(no odp.PortNo, pid uint32) error {
	i := k.find(no)
	if i < 0 {
		return unix.ENODEV
	}
	k.vports[i].UpcallPIDs = []uint32{pid}
	return nil
}

func (k *modelKernel) SetUpcallPIDs(ports []odp.PortNo, pids []uint32, done func(i int, err error)) error {
	for i := range ports {
		done(i, k.SetUpcallPID(ports[i], pids[i]))
	}
	return nil
}

// testReconciler returns a Reconciler over k with one handler, and its events.
func testReconciler(t *testing.T, k Kernel, ports ...PortConfig) (*Reconciler, *sweepCount, *[]event.Event) {
	t.Helper()
	sockets, err := transport.New(transport.Config{RcvBuf: 1 << 16})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		t.Fatal(err)
	}
	h, err := upcall.New(upcall.Config{Datapath: dpiftest.Datapath(conn)})
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan error)
	go func() { done <- h.Run() }()
	t.Cleanup(func() {
		h.Stop()
		if err := errors.Join(<-done, sockets.Close()); err != nil {
			t.Error(err)
		}
	})
	sockets.SetHandlers([]*upcall.Handler{h})
	sweeps, events := &sweepCount{}, new([]event.Event)
	return New(Config{Kernel: k, Sockets: sockets, Ports: ports, Sweeps: sweeps, Restores: NewRestores(),
		Progress: func() {}, Notify: func(e event.Event) { *events = append(*events, e) }}), sweeps, events
}

// look runs one look as the composer does.
func look(t *testing.T, r *Reconciler, l Look) (removed, added Diff) {
	t.Helper()
	r.restores.Begin()
	removed, err := r.Remove(l)
	if err != nil {
		t.Fatal(err)
	}
	if len(removed.Removed) > 0 {
		r.Quarantine(removed.Removed)
	}
	if added, err = r.Add(l); err != nil {
		t.Fatal(err)
	}
	r.SetUpDevices()
	return removed, added
}

func names[T any](list []T, name func(T) string) []string {
	out := []string{}
	for _, x := range list {
		out = append(out, name(x))
	}
	return out
}

func addedName(a Added) string { return a.Name() }

func expect(t *testing.T, what string, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) && len(got)+len(want) > 0 {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestLooks: a look reports what it finds and changes, and the table follows.
func TestLooks(t *testing.T) {
	k := &modelKernel{
		vports:  []dpif.Vport{{No: 1, Name: "va", Ifindex: 11}, {No: 7, Name: "vx", Ifindex: 17}},
		devices: map[string]uint32{"vb": 12},
	}
	r, sweeps, events := testReconciler(t, k, PortConfig{Name: "va"}, PortConfig{Name: "vb", MaxUpcalls: 9},
		PortConfig{Name: "vc"})
	if _, expected, err := r.Begin(); err != nil || expected != 4 || !r.LacksConfigured() {
		t.Errorf("begin: %d ports expected, %v", expected, err)
	}
	_, added := look(t, r, Look{Start: true})
	expect(t, "added at start", names(added.Added, addedName), "va", "vx", "vb")
	expect(t, "waiting at start", names(added.Waiting, func(w PortWaiting) string { return w.Name }), "vc")
	expect(t, "for the policy", names(added.Ports, func(p policy.Port) string { return p.Name }), "va", "vx", "vb")
	ports := r.Table().Load()
	if got := ports.Numbers(); !slices.Equal(got, []odp.PortNo{1, 2, 7}) {
		t.Errorf("numbers %v", got)
	}
	if p := ports.Get(2); p == nil || p.MaxUpcalls() != 9 || p.Socket.PortID() != k.vports[2].UpcallPIDs[0] {
		t.Errorf("vb is %+v", p)
	}
	if r.ConcernedByLink(11, "va", false) || !r.ConcernedByLink(11, "vz", false) || !r.ConcernedByLink(11, "va", true) ||
		!r.ConcernedByLink(99, "vc", false) || r.ConcernedByLink(99, "vd", true) {
		t.Error("concerned by links")
	}

	// A name changes, a device is removed, and another program changes an upcall PID.
	k.vports[0].Name = "vz"
	k.vports[1].UpcallPIDs = []uint32{4}
	if err := k.DeleteVport(2); err != nil {
		t.Fatal(err)
	}
	delete(k.devices, "vb")
	removed, added := look(t, r, Look{Changed: true})
	expect(t, "removed", names(removed.Removed, func(e PortRemoved) string { return e.Name }), "vb")
	expect(t, "renamed", names(removed.Renamed, func(e PortRenamed) string { return e.Was + " " + e.Name }), "va vz")
	expect(t, "left for the policy", names(removed.Ports, func(p policy.Port) string { return p.Name }), "va", "vx")
	expect(t, "newly waiting", names(added.Waiting, func(w PortWaiting) string { return w.Name }), "vb")
	if len(*events) != 1 || r.restores.UpcallPIDs() != 1 || k.vports[1].UpcallPIDs[0] != ports.Get(7).Socket.PortID() {
		t.Errorf("vx has PIDs %v, events %v", k.vports[1].UpcallPIDs, *events)
	}
	if e, ok := (*events)[0].(UpcallPIDRestored); !ok || e.No != 7 {
		t.Errorf("event %+v", (*events)[0])
	}
	if ports.Get(2) == nil || r.Table().Load().Get(2) != nil {
		t.Error("the loaded table has changed, or the new one has not")
	}

	// The number of a removed port is not assigned again while flows may output to it.
	k.devices["vb"], k.devices["vc"] = 22, 23
	_, added = look(t, r, Look{Changed: true})
	expect(t, "added later", names(added.Added, addedName), "vb", "vc")
	if got := r.Table().Load().Numbers(); !slices.Equal(got, []odp.PortNo{1, 3, 4, 7}) || sweeps.asked != 1 {
		t.Errorf("numbers %v, %d sweeps requested", got, sweeps.asked)
	}
	if r.Waiting() != 0 {
		t.Errorf("%d ports wait", r.Waiting())
	}

	// Another device under a number is another port; a port whose entry was removed from the
	// configuration is removed.
	k.vports[1].Ifindex = 18
	if err := r.Configure([]PortConfig{{Name: "va"}, {Name: "vc"}}); err != nil {
		t.Fatal(err)
	}
	removed, added = look(t, r, Look{})
	expect(t, "removed last", names(removed.Removed, func(e PortRemoved) string { return e.Name }), "vb", "vx")
	expect(t, "added last", names(added.Added, addedName), "vx")
}

// TestEvents: removals come before additions, and each port is reported with its transport.
func TestEvents(t *testing.T) {
	diff := Diff{Removed: []PortRemoved{{}}, Renamed: []PortRenamed{{}}, Waiting: []PortWaiting{{}},
		Added: []Added{{&Port{Port: upcall.NewPort(1, "va", 0)}, true}}}
	var kinds []string
	for e := range diff.Events() {
		kinds = append(kinds, event.KindOf(e).Name)
	}
	expect(t, "events", kinds, "port_removed", "port_renamed", "port_waiting", "port_added")
}

// TestPortSince: information in flows about an earlier owner of a number is distinguished for each
// port, except for those that existed at the start of the service.
func TestPortSince(t *testing.T) {
	k := &modelKernel{vports: []dpif.Vport{{No: 1, Name: "va", Ifindex: 11}}, devices: map[string]uint32{"vb": 12}}
	r, _, _ := testReconciler(t, k, PortConfig{Name: "vb"})
	before := clock.NowMS()
	_, atStart := look(t, r, Look{Start: true})
	k.vports = append(k.vports, dpif.Vport{No: 3, Name: "vc", Ifindex: 13})
	_, later := look(t, r, Look{Changed: true})
	for _, p := range later.Ports {
		if (p.SinceMS > before) != (p.No != 1) {
			t.Errorf("port %d: since %d ms, before the start %d", p.No, p.SinceMS, before)
		}
	}
	if atStart.Ports[1].No != 2 || later.Ports[1] != atStart.Ports[1] {
		t.Errorf("port 2: %+v, was %+v", later.Ports[1], atStart.Ports[1])
	}
	// A port that is not served yet is new too.
	k.vports = append(k.vports, dpif.Vport{No: 4, Name: "vd", Ifindex: 14})
	vports, _ := k.Vports()
	if p := r.policyPorts(vports, Look{}); p[3].SinceMS <= before {
		t.Errorf("port 4: %+v", p[3])
	}
	if p := r.policyPorts(vports, Look{Start: true}); p[3].SinceMS != 0 {
		t.Errorf("port 4 at start: %+v", p[3])
	}
}

// TestRingOrder: configured ports get rings in the order of the file, whatever their numbers, then
// the others by number.
func TestRingOrder(t *testing.T) {
	r := New(Config{Kernel: &modelKernel{}, Ports: []PortConfig{{Name: "c"}, {Name: "missing"}, {Name: "a"}}})
	vports := []dpif.Vport{{No: 4, Name: "e"}, {No: 1, Name: "a"}, {No: 2, Name: "d"}, {No: 3, Name: "c"}}
	r.bind(vports)
	r.sortForRings(vports)
	expect(t, "order", names(vports, func(v dpif.Vport) string { return v.Name }), "c", "a", "d", "e")
}

// TestRetries: the reconciler attaches a waiting port when its back-off expires, or at once after a change.
func TestRetries(t *testing.T) {
	r := New(Config{Kernel: &modelKernel{}, Ports: []PortConfig{{Name: "a"}}})
	var diff Diff
	list := []*attachment{{config: PortConfig{Name: "a"}, err: unix.ENODEV}}
	if _, err := r.noteResults(list, &diff); err != nil || len(diff.Waiting) != 1 {
		t.Fatalf("%v, %v", diff.Waiting, err)
	}
	at := r.NextRetry(clock.Now() + time.Hour)
	changed := Look{Changed: true}
	if r.due("a", Look{}, at-1) || !r.due("a", Look{}, at) || !r.due("a", changed, 0) || !r.due("b", Look{}, 0) {
		t.Error("due")
	}
	if soon := clock.Now(); r.NextRetry(soon) != soon {
		t.Error("the next retry is later than requested")
	}
	if _, err := r.noteResults(list, &diff); err != nil || len(diff.Waiting) != 1 {
		t.Errorf("the same reason is reported again: %v, %v", diff.Waiting, err)
	}
}
