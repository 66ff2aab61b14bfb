//go:build lab

package kernel_test

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// onlineCPU is a CPU that can be taken off.
const onlineCPU = "/sys/devices/system/cpu/cpu1/online"

func setCPU(t *testing.T, state string) {
	t.Helper()
	if err := os.WriteFile(onlineCPU, []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPerCPUDispatch serves ports by one socket a handler, while a CPU goes and comes
// back and another program changes the features.
func TestPerCPUDispatch(t *testing.T) {
	n := newQuietNetwork(t, 4)
	d := n.run(t, settings{"dispatch": "per-cpu", "policy": "{mac_limit: 20000}"})
	chosen := d.Events("dispatch_selected")
	if len(chosen) != 1 || chosen[0].Text("dispatch") != "per-cpu" {
		t.Fatalf("dispatch_selected: %v", chosen)
	}
	v := n.view(t)
	info := v.info(t)
	if info.Features&dpif.FeatureDispatchPerCPU == 0 || len(info.PerCPUPIDs) == 0 {
		t.Errorf("features %v, upcall PIDs by CPU %v", info.Features, info.PerCPUPIDs)
	}
	before := info.PerCPUPIDs
	for _, p := range v.vports(t) {
		if slices.ContainsFunc(p.UpcallPIDs, func(pid uint32) bool { return pid != 0 }) {
			t.Errorf("port %s has upcall PIDs %v", p.Name, p.UpcallPIDs)
		}
	}
	p := n.sockets(t)
	const sink = "02:51:4c:00:00:99"
	hello := frame(t, broadcast, sink)
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	sent := 0
	load := func(step string) {
		t.Helper()
		const count = 300
		frames := make([][]byte, count)
		for i := range frames {
			frames[i] = numbered(t, sent+i, sink)
		}
		for i := range frames {
			send(t, p[[]int{0, 2, 3}[i%3]], frames[i])
		}
		sent += count
		if got := arrivals(t, p[1], count); got != count {
			t.Errorf("%s: %d of %d packets arrived", step, got, count)
		}
	}
	load("at first")

	if _, err := os.Stat(onlineCPU); err == nil && len(before) > 1 {
		t.Cleanup(func() { _ = os.WriteFile(onlineCPU, []byte("1"), 0o644) })
		off := time.Now()
		setCPU(t, "0")
		d.Wait(t, off, "cpus_changed", nil)
		load("with a CPU less")
		on := time.Now()
		setCPU(t, "1")
		d.Wait(t, on, "cpus_changed", nil)
		load("with the CPU back")
		if after := v.info(t).PerCPUPIDs; !slices.Equal(after, before) {
			t.Errorf("upcall PIDs by CPU %v, were %v", after, before)
		}
	} else {
		t.Log("the kernel cannot take CPUs off")
	}

	// It sets features that leave the table of PIDs in force: nothing is lost.
	flip := time.Now()
	n.sw.DPCtl(t, "show", n.dpName)
	load("after ovs-dpctl show")
	d.Wait(t, flip, "features_restored", nil)

	stop(t, d)
	if e := d.Events("stopped"); len(e) != 1 || e[0].Int(t, "upcalls") < int64(sent) || e[0].Int(t, "lost") != 0 {
		t.Errorf("stopped: %v; %d packets sent", e, sent)
	}
	if f := v.info(t).Features; f&dpif.FeatureDispatchPerCPU != 0 {
		t.Errorf("after the end the datapath has features %v", f)
	}
}

// TestDispatchChanges starts with one dispatch what the other one left.
func TestDispatchChanges(t *testing.T) {
	n := newQuietNetwork(t, 2)
	p := n.sockets(t)
	for _, dispatch := range []string{"per-cpu", "per-vport", "per-cpu"} {
		d := n.run(t, settings{"dispatch": dispatch})
		exchange(t, p[0], p[1])
		perCPU := n.view(t).info(t).Features&dpif.FeatureDispatchPerCPU != 0
		if want := dispatch == "per-cpu"; perCPU != want {
			t.Errorf("dispatch %s: per CPU %v", dispatch, perCPU)
		}
		if err := d.Stop(t, unix.SIGKILL, lab.DaemonLimit); err == nil {
			t.Error("SIGKILL is no error")
		}
	}
}

// TestTooFewDescriptors: what cannot go well is said before any port is touched.
func TestTooFewDescriptors(t *testing.T) {
	perVport(t)
	n := newQuietNetwork(t, 6)
	file := lab.WriteConfig(t, n.config(nil))
	d := n.sw.StartDaemonFile(t, file, "sh", "-c", `ulimit -n 36; exec "$@"`, "sh")
	if code := d.WaitExit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if e := d.Events("failed"); len(e) != 1 || !strings.Contains(e[0].Text("error"), "the limit is 36") {
		t.Errorf("failed: %v", e)
	}
	if e := d.Events("port_added"); len(e) != 0 {
		t.Errorf("ports were served: %v", e)
	}
}
