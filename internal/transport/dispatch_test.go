package transport

import (
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/event"
	"dpifd/internal/fdstore"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"

	"golang.org/x/sys/unix"
)

// versionKernel models a datapath's user features in kernels of different versions: ovs_dp_change
// and ovs_dp_cmd_fill_info of net/openvswitch/datapath.c.
type versionKernel struct {
	known  dpif.Features // features that it implements
	checks bool          // rejects all others, Linux >= 5.4
	tells  bool          // answers include the table of PIDs, Linux >= 6.1

	features dpif.Features
	pids     []uint32
}

const (
	known314 = dpif.FeatureUnaligned | dpif.FeatureVportPIDs
	known515 = known314 | dpif.FeatureDispatchPerCPU
)

func (k *versionKernel) RequestFeatures(f dpif.Features, perCPU []uint32) error {
	if k.checks && f&^k.known != 0 {
		return unix.EOPNOTSUPP
	}
	k.features = f
	if f&k.known&dpif.FeatureDispatchPerCPU != 0 && perCPU != nil {
		k.pids = perCPU
	}
	return nil
}

func (k *versionKernel) Info() (dpif.DatapathInfo, error) {
	info := dpif.DatapathInfo{Features: k.features}
	if k.tells && k.features&dpif.FeatureDispatchPerCPU != 0 {
		info.PerCPUPIDs = k.pids
	}
	return info, nil
}

// startHandlers runs handlers until the test ends, and passes them to the sockets.
func startHandlers(t *testing.T, s *Sockets, n int) []*upcall.Handler {
	t.Helper()
	var handlers []*upcall.Handler
	for id := range n {
		conn, _, err := s.Dial(netlink.Config{})
		if err != nil {
			t.Fatal(err)
		}
		h, err := upcall.New(upcall.Config{ID: id, Datapath: dpiftest.Datapath(conn), Ports: new(upcall.Table)})
		if err != nil {
			t.Fatal(err)
		}
		handlers = append(handlers, h)
		done := make(chan error)
		go func() { done <- h.Run() }()
		t.Cleanup(func() {
			h.Stop()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	s.SetHandlers(handlers)
	return handlers
}

// dispatcher returns a Dispatcher of two handlers, and its events.
func dispatcher(t *testing.T, k dpif.FeatureKernel, cfg Config) (*Dispatcher, *[]event.Event) {
	t.Helper()
	s, events := testSockets(t, cfg)
	startHandlers(t, s, 2)
	d := NewDispatcher(k, s)
	t.Cleanup(func() { d.reader.close() })
	return d, events
}

// TestDispatchSelected: the reported dispatch and its reason agree with the behaviour of that
// kernel version.
func TestDispatchSelected(t *testing.T) {
	kernels := map[string]versionKernel{
		"3.14 to 5.3":   {known: known314},
		"5.4 to 5.14":   {known: known314, checks: true},
		"5.15 to 6.0":   {known: known515, checks: true},
		"6.1 and later": {known: known515, checks: true, tells: true},
	}
	for version, kernel := range kernels {
		for _, asked := range []dpif.Dispatch{dpif.DispatchPerVport, dpif.DispatchPerCPU} {
			t.Run(version+", "+asked.String(), func(t *testing.T) {
				k := kernel
				d, events := dispatcher(t, &k, Config{})
				if err := d.Negotiate(asked); err != nil {
					t.Fatal(err)
				}
				does := dpif.DispatchPerVport
				if k.features&k.known&dpif.FeatureDispatchPerCPU != 0 {
					does = dpif.DispatchPerCPU
				}
				want, reason := asked, "configured"
				if asked == dpif.DispatchPerCPU && k.known&dpif.FeatureDispatchPerCPU == 0 {
					want, reason = dpif.DispatchPerVport, "the kernel has no per-CPU dispatch (Linux >= 5.15)"
				}
				if does != want || d.dispatch() != want {
					t.Errorf("the kernel dispatches %v, the dispatcher reports %v, want %v", does, d.dispatch(), want)
				}
				if k.features != d.features || k.features&^k.known != 0 || k.features&known314 != d.sockets.rings.features() {
					t.Errorf("the kernel has features %v, the dispatcher reports %v", k.features, d.features)
				}
				last := (*events)[len(*events)-1]
				chosen, ok := last.(DispatchSelected)
				if !ok || chosen.Dispatch != want || chosen.Reason != reason {
					t.Fatalf("event %+v, want %v because %q", last, want, reason)
				}
				// Without a table the sockets are closed, and no handler uses one.
				if n := len(chosen.UpcallPIDs); n != len(d.sockets.Shared()) || (n == 2) != (want == dpif.DispatchPerCPU) {
					t.Errorf("%d sockets are reported, %d exist", n, len(d.sockets.Shared()))
				}
				if err := d.Serve(); err != nil {
					t.Fatal(err)
				}
				for _, pid := range k.pids {
					if !slices.Contains(chosen.UpcallPIDs, pid) {
						t.Errorf("the kernel's table names socket %d, the handlers have %v", pid, chosen.UpcallPIDs)
					}
				}
				if want == dpif.DispatchPerCPU && len(k.pids) != d.cpus.possible {
					t.Errorf("the kernel's table has %d entries for %d possible CPUs", len(k.pids), d.cpus.possible)
				}
				found := FeaturesSet{}
				is := func(e event.Event) (ok bool) { found, ok = e.(FeaturesSet); return ok }
				if !slices.ContainsFunc(*events, is) || found.Kept != k.features {
					t.Errorf("features_set reports %v as kept, the kernel has %v", found.Kept, k.features)
				}
			})
		}
	}
}

// TestSharedSocketsAdopted: the sockets of the previous process stay in the kernel's table, even if
// the kernel does not report it.
func TestSharedSocketsAdopted(t *testing.T) {
	for _, tells := range []bool{false, true} {
		k := versionKernel{known: known515, checks: true, tells: tells, features: known515}
		var list []fdstore.Descriptor
		for range 2 {
			sock, err := netlink.OpenReceiver(unix.NETLINK_GENERIC, netlink.ReceiverConfig{})
			if err != nil {
				t.Fatal(err)
			}
			k.pids = append(k.pids, sock.PortID())
			fd, _, err := sock.Detach()
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, fdstore.Descriptor{FD: fd})
		}
		before := slices.Sorted(slices.Values(k.pids))
		d, _ := dispatcher(t, &k, Config{Inherited: list})
		if err := d.Negotiate(dpif.DispatchPerCPU); err != nil {
			t.Fatal(err)
		}
		var after []uint32
		for _, sock := range d.sockets.Shared() {
			after = append(after, sock.PortID())
		}
		slices.Sort(after)
		if err := d.Serve(); err != nil {
			t.Error(err)
		}
		in := d.sockets.inherited
		if !slices.Equal(after, before) || in.adopted != 2 || len(in.sockets) != 0 {
			t.Errorf("tells %v: the handlers have sockets %d, the process before had %d; %d adopted, %d left",
				tells, after, before, in.adopted, len(in.sockets))
		}
	}
}
