//go:build lab

package kernel_test

import (
	"errors"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// newDatapath creates a datapath without a daemon.
func newDatapath(t *testing.T, ns *lab.NetNS, name string) *dpif.Datapath {
	t.Helper()
	conn, fam := dial(t, ns)
	dp, err := dpif.CreateDatapath(conn, fam, name, dpif.FeatureUnaligned|dpif.FeatureVportPIDs)
	if err != nil {
		t.Fatal(err)
	}
	return dp
}

func wantErrno(t *testing.T, what string, err error, want unix.Errno) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: error %v, want %v", what, err, want)
	}
}

func TestDatapathLifecycle(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	ns := lab.NewNetNS(t, "dpif")
	conn, fam := dial(t, ns)
	_, err := dpif.OpenDatapath(conn, fam, "absent")
	wantErrno(t, "open an absent datapath", err, unix.ENODEV)

	dp, err := dpif.CreateDatapath(conn, fam, "life", dpif.FeatureVportPIDs)
	if err != nil {
		t.Fatal(err)
	}
	_, err = dpif.CreateDatapath(conn, fam, "life", 0)
	wantErrno(t, "create it twice", err, unix.EEXIST)

	again, err := dpif.OpenDatapath(conn, fam, "life")
	if err != nil || again.Index() != dp.Index() || dp.Index() == 0 {
		t.Fatalf("open: index %d, error %v; want index %d", again.Index(), err, dp.Index())
	}
	for _, f := range []dpif.Features{dpif.FeatureUnaligned, 0, dpif.FeatureUnaligned | dpif.FeatureVportPIDs} {
		kept, err := dp.SetFeatures(f, nil)
		if err != nil || kept != f {
			t.Errorf("set features %q: kept %q, error %v", f, kept, err)
		}
		if info, err := again.Info(); err != nil || info.Features != f || info.Name != "life" {
			t.Errorf("read back %q of %s, error %v; want %q of life", info.Features, info.Name, err, f)
		}
	}
	// A bit that the kernel does not know must not drop the others.
	const unknown = 1 << 30
	if kept, err := dp.SetFeatures(dpif.FeatureVportPIDs|unknown, nil); err != nil ||
		kept&^unknown != dpif.FeatureVportPIDs {
		t.Errorf("set features with an unknown bit: kept %q, error %v; want vport_pids", kept, err)
	}
	if err := dp.Delete(); err != nil {
		t.Error(err)
	}
	_, err = again.Info()
	wantErrno(t, "info of a deleted datapath", err, unix.ENODEV)
	wantErrno(t, "delete it twice", again.Delete(), unix.ENODEV)
}

func TestExtack(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	ns := lab.NewNetNS(t, "dpif")
	conn, fam := dial(t, ns)
	_, err := dpif.CreateDatapath(conn, fam, "a-name-of-more-than-15-bytes", 0)
	if err == nil {
		t.Fatal("the kernel accepted a name of 28 bytes")
	}
	lab.Need(t, "extended acknowledgements", func() error {
		var op *netlink.OpError
		if !errors.As(err, &op) || op.Extack == "" {
			return err
		}
		t.Logf("%v", err)
		return nil
	})
}

func TestVports(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 2)
	dp := newDatapath(t, n.sw, n.dpName)
	v := view{dp}
	a, err := dp.AddVport(n.hosts[0].port, dpif.VportNetdev, 0, 4711)
	if err != nil {
		t.Fatal(err)
	}
	b, err := dp.AddVport(n.hosts[1].port, dpif.VportNetdev, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	c, err := dp.AddVport("made", dpif.VportInternal, 0, 815)
	if err != nil {
		t.Fatal(err)
	}
	n.sw.Run(t, "ip", "link", "show", "dev", "made")

	type port struct {
		No   odp.PortNo
		Type dpif.VportType
		PIDs []uint32
	}
	list := func() map[string]port {
		all := make(map[string]port)
		for name, p := range v.vports(t) {
			all[name] = port{p.No, p.Type, p.UpcallPIDs}
		}
		return all
	}
	want := map[string]port{
		n.dpName:        {0, dpif.VportInternal, []uint32{0}},
		n.hosts[0].port: {1, dpif.VportNetdev, []uint32{4711}},
		n.hosts[1].port: {2, dpif.VportNetdev, []uint32{0}},
		"made":          {3, dpif.VportInternal, []uint32{815}},
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("vports (-want +got):\n%s", diff)
	}
	if a.No != 1 || b.No != 2 || c.No != 3 {
		t.Errorf("added as %d, %d, %d; want 1, 2, 3", a.No, b.No, c.No)
	}

	if err := dp.SetUpcallPID(b.No, 99); err != nil {
		t.Error(err)
	}
	want[n.hosts[1].port] = port{2, dpif.VportNetdev, []uint32{99}}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("vports after setting a PID (-want +got):\n%s", diff)
	}
	// 77 is not a port: the others are cleared nevertheless.
	if err := dp.ClearUpcallPIDs([]odp.PortNo{1, 77, 2, 3}); err != nil {
		t.Error(err)
	}
	for name, p := range want {
		want[name] = port{p.No, p.Type, []uint32{0}}
	}
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("vports after clearing the PIDs (-want +got):\n%s", diff)
	}

	_, err = dp.AddVport("no-such-dev", dpif.VportNetdev, 0, 0)
	wantErrno(t, "add a port without a device", err, unix.ENODEV)
	other := newDatapath(t, n.sw, "other")
	_, err = other.AddVport(n.hosts[0].port, dpif.VportNetdev, 0, 0)
	wantErrno(t, "add a port of another datapath", err, unix.EBUSY)
	wantErrno(t, "set the PID of an absent port", dp.SetUpcallPID(77, 1), unix.ENODEV)
	wantErrno(t, "delete an absent port", dp.DeleteVport(77), unix.ENODEV)

	for _, no := range []odp.PortNo{b.No, c.No} {
		if err := dp.DeleteVport(no); err != nil {
			t.Error(err)
		}
	}
	delete(want, n.hosts[1].port)
	delete(want, "made")
	if diff := cmp.Diff(want, list()); diff != "" {
		t.Errorf("vports after deletion (-want +got):\n%s", diff)
	}
	n.sw.Run(t, "ip", "link", "show", "dev", n.hosts[1].port)
	if out, err := n.sw.Try("ip", "link", "show", "dev", "made"); err == nil {
		t.Errorf("the internal port's device outlived it:\n%s", out)
	}
}
