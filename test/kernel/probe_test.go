//go:build lab

package kernel_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"

	"dpifd/internal/lab"
	"dpifd/internal/probe"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// runProbe runs `dpifd probe -o json` in the namespace, with the process attributes attr unless
// nil, and returns the exit code too.
func runProbe(t *testing.T, ns *lab.NetNS, attr *syscall.SysProcAttr) (map[string]probe.Finding, int) {
	t.Helper()
	cmd := exec.Command(lab.DaemonPath(t), "probe", "-o", "json")
	cmd.SysProcAttr = attr
	var out []byte
	err := ns.Do(func() (err error) { out, err = cmd.Output(); return err })
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var r probe.Report
	if err := json.Unmarshal(out, &r); err != nil {
		t.Fatalf("%v in\n%s", err, out)
	}
	if r.Runs != (cmd.ProcessState.ExitCode() == 0) {
		t.Errorf("exit code %d, runs %v", cmd.ProcessState.ExitCode(), r.Runs)
	}
	all := map[string]probe.Finding{}
	for _, f := range r.Findings {
		all[f.Name] = f
		t.Logf("%-7s %-20s %s", f.State, f.Name, f.Detail)
	}
	return all, cmd.ProcessState.ExitCode()
}

// hostState is the state that a probe must not change, one line per item.
type hostState struct{ Namespaces, Devices, NetnsIDs, Datapaths []string }

func census(t *testing.T, n *network) hostState {
	t.Helper()
	entries, err := os.ReadDir("/run/netns")
	if err != nil {
		t.Fatal(err)
	}
	s := hostState{
		Devices:   strings.Split(n.sw.Run(t, "/usr/sbin/ip", "-o", "link"), "\n"),
		NetnsIDs:  strings.Split(n.sw.Run(t, "/usr/sbin/ip", "netns", "list-id"), "\n"),
		Datapaths: strings.Split(dpifd(t, n.sw, "show", "-s"), "\n"),
	}
	for _, e := range entries {
		s.Namespaces = append(s.Namespaces, e.Name())
	}
	return s
}

// TestProbe compares the features that the probe finds with those that the tests find and, on Debian's
// kernel, with its known features. It also checks that nothing on the host changes.
func TestProbe(t *testing.T) {
	noDaemon(t)
	n := newQuietNetwork(t, 1)
	newDatapath(t, n.sw, n.dpName)
	before := census(t, n)
	w := newWatcher(t, n.sw, n.dpName)
	var got map[string]probe.Finding
	w.unchanged("dpifd probe", func() {
		var code int
		if got, code = runProbe(t, n.sw, nil); code != 0 {
			t.Errorf("exit code %d", code)
		}
	})
	if diff := cmp.Diff(before, census(t, n)); diff != "" {
		t.Errorf("the host changed:\n%s", diff)
	}
	// Features that the tests determine independently of the probe, on any kernel.
	v := n.view(t)
	for name, has := range map[string]bool{
		"rx_ring": hasRings(), "feature_per_cpu": hasPerCPU() == nil, "meter": hasMeters() == nil,
		"upcall_stats": v.vports(t)[n.dpName].Upcalls.Known, "action_drop": v.HasDrop(),
	} {
		if f := got[name]; (f.State == probe.Yes) != has || f.State == probe.Untried {
			t.Errorf("%s: %s (%s), but the tests find %v", name, f.State, f.Detail, has)
		}
	}
	if lab.Strict() {
		lacks := []string{"rx_ring", "tx_ring", "feature_tc_recirc", "upcall_stats", "action_drop", "action_psample"}
		for name, f := range got {
			want := probe.Yes
			if slices.Contains(lacks, name) {
				want = probe.No
			}
			if f.State != want {
				t.Errorf("%s: %s (%s), want %s", name, f.State, f.Detail, want)
			}
		}
	}
	_, fam := dial(t, n.sw)
	if f := got["ovs_flow"]; !strings.Contains(f.Detail, "group ovs_flow ") || len(fam.Flow.Groups) != 1 {
		t.Errorf("ovs_flow: %s", f.Detail)
	}
}

// TestProbeWithoutPrivilege checks that findings which need privileges are reported as such, and
// that only a missing CAP_NET_ADMIN prevents dpifd from running.
func TestProbeWithoutPrivilege(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n := newQuietNetwork(t, 1)
	newDatapath(t, n.sw, n.dpName)
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	got, code := runProbe(t, n.sw, &syscall.SysProcAttr{Credential: nobody})
	if code != 1 || got["cap_net_admin"].State != probe.No || got["ufid"].State != probe.Untried ||
		got["openvswitch"].State != probe.Yes || got["recvmmsg"].State != probe.Yes {
		t.Errorf("as nobody: exit code %d, %+v", code, got)
	}
	got, code = runProbe(t, n.sw, &syscall.SysProcAttr{Credential: nobody, AmbientCaps: []uintptr{unix.CAP_NET_ADMIN}})
	if code != 0 || got["cap_net_admin"].State != probe.Yes || got["cap_sys_admin"].State != probe.No ||
		got["ufid"].State != probe.Untried || got["rcvbuf"].State != probe.Yes {
		t.Errorf("with CAP_NET_ADMIN: exit code %d, %+v", code, got)
	}
}
