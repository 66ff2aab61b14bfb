//go:build lab

package kernel_test

import (
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// onlineCPU controls a CPU that can be taken offline.
const onlineCPU = "/sys/devices/system/cpu/cpu1/online"

func setCPU(t *testing.T, state string) {
	t.Helper()
	if err := os.WriteFile(onlineCPU, []byte(state), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestPerCPUDispatch serves ports with one socket per handler while another program changes the
// features.
func TestPerCPUDispatch(t *testing.T) {
	t.Parallel()
	setsDispatch(t)
	needPerCPU(t)
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

	// ovs-dpctl sets features that keep the table of PIDs in force: no upcall is lost.
	flip := time.Now()
	n.sw.DPCtl(t, "show", n.dpName)
	load("after ovs-dpctl show")
	d.Wait(t, flip, "features_restored", nil)

	stop(t, d)
	if e := d.Events("stopped"); len(e) != 1 || e[0].Int(t, "upcalls") < int64(sent) || e[0].Int(t, "lost") != 0 {
		t.Errorf("stopped: %v; %d packets sent", e, sent)
	}
	if f := v.info(t).Features; f&dpif.FeatureDispatchPerCPU != 0 {
		t.Errorf("after the exit the datapath has features %v", f)
	}
}

// TestCPUsUnderTraffic takes a CPU offline and online repeatedly while new flows arrive: each
// packet that does not arrive is counted and logged.
func TestCPUsUnderTraffic(t *testing.T) {
	setsDispatch(t)
	needPerCPU(t)
	const rounds, rate = 5, 1000
	lab.Need(t, "CPU hotplug", func() error {
		_, err := os.Stat(onlineCPU)
		return err
	})
	t.Cleanup(func() { _ = os.WriteFile(onlineCPU, []byte("1"), 0o644) })
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"dispatch": "per-cpu", "policy": "{type: learning, mac_limit: 60000}"})
	v := n.view(t)
	p := n.sockets(t)
	to := sink(t, []*lab.Packet{p[0], p[1]})
	arrived := lab.Collect(t, p[1])
	over := steadyLoad(t, to, rate, p[0], p[2])
	full := v.info(t).PerCPUPIDs
	for range rounds {
		for _, state := range []string{"0", "1"} {
			since := time.Now()
			setCPU(t, state)
			e := d.Wait(t, since, "cpus_changed", nil)
			if got := v.info(t).PerCPUPIDs; len(got) != len(full) || slices.Contains(got, 0) ||
				state == "1" && !slices.Equal(got, full) {
				t.Errorf("with CPUs %s the upcall PIDs by CPU are %d, with all CPUs %d", e.Text("cpus"), got, full)
			}
		}
	}
	count := over()
	eventually(t, 2*waitLimit, "each packet arrives or is counted as lost", func() bool {
		return arrived.Count()+int(v.info(t).Stats.Lost) >= count
	})
	lost := int(v.info(t).Stats.Lost)
	t.Logf("%d packets sent while a CPU went offline %d times, %d arrived, %d lost", count, rounds, arrived.Count(), lost)
	if unexplained := count - arrived.Count() - lost; unexplained != 0 {
		t.Errorf("%d packets are unexplained", unexplained)
	}
	stop(t, d)
	v.explained(t, d)
	if n := loggedLosses(t, d)["no_listener"]; n != 0 {
		t.Errorf("%d packets had no listener", n)
	}
	if e := d.Events("cpus_changed"); len(e) != 2*rounds {
		t.Errorf("%d cpus_changed, want %d", len(e), 2*rounds)
	}
}

// TestRestartChangesDispatch restarts the program under new flows with another dispatch, or with
// fewer handlers. Upcalls queued on sockets that the new process does not use are answered too.
func TestRestartChangesDispatch(t *testing.T) {
	setsDispatch(t)
	needPerCPU(t)
	const rate = 1000
	n := newQuietNetwork(t, 2)
	with := func(dispatch, handlers string) settings {
		return settings{"dispatch": dispatch, "handlers": handlers, "policy": "{type: learning, mac_limit: 60000}"}
	}
	d := n.run(t, with("per-cpu", "2"))
	v := n.view(t)
	p := n.sockets(t)
	to := sink(t, p)
	arrived := lab.Collect(t, p[1])
	over := steadyLoad(t, to, rate, p[0])
	path := d.Events("starting")[0].Text("config")
	for _, next := range []settings{with("per-cpu", "1"), with("per-vport", "2"), with("per-cpu", "2")} {
		if err := os.WriteFile(path, []byte(n.config(next)), 0o600); err != nil {
			t.Fatal(err)
		}
		since := time.Now()
		signal(t, d, unix.SIGUSR2)
		left := d.Wait(t, since, "handed_over", nil).Int(t, "sockets")
		e := d.Wait(t, since, "sockets_adopted", nil)
		if adopted, closed := e.Int(t, "adopted"), e.Int(t, "closed"); adopted+closed != left || closed == 0 {
			t.Errorf("dispatch %s, %s handlers: %d sockets handed over, %d adopted, %d closed; want some closed",
				next["dispatch"], next["handlers"], left, adopted, closed)
		}
		d.Wait(t, since, "ready", nil)
		if e := d.Wait(t, since, "dispatch_selected", nil); e.Text("dispatch") != next["dispatch"] {
			t.Errorf("dispatch_selected: %v, want %s", e.Fields, next["dispatch"])
		}
	}
	count := over()
	eventually(t, 2*waitLimit, "each packet arrives or is counted as lost", func() bool {
		return arrived.Count()+int(v.info(t).Stats.Lost) >= count
	})
	lost := int(v.info(t).Stats.Lost)
	t.Logf("%d packets sent, %d arrived, %d lost", count, arrived.Count(), lost)
	if unexplained := count - arrived.Count() - lost; unexplained != 0 {
		t.Errorf("%d packets are unexplained", unexplained)
	}
	stop(t, d)
	said := int64(0)
	for _, e := range append(d.Events("upcalls_lost"), d.Events("lost_while_down")...) {
		said += e.Int(t, "lost")
	}
	if said != int64(lost) {
		t.Errorf("the kernel lost %d packets, the log reports %d", lost, said)
	}
}

// onCPU calls fn on a thread that is bound to one CPU, so that upcalls for packets that it sends
// are raised on that CPU.
func onCPU(t *testing.T, cpu int, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		err := stayOnCPU(cpu)
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatalf("run on CPU %d: %v", cpu, err)
	}
}

// stayOnCPU binds the calling goroutine to one CPU for the rest of its life.
func stayOnCPU(cpu int) error {
	runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
	var set unix.CPUSet
	set.Set(cpu)
	return unix.SchedSetaffinity(0, &set)
}

// TestCPUBeyondTable: another program sets a table of one PID. The kernel maps the upcalls of other
// CPUs into that table by CPU number modulo its length; they are answered, and the daemon restores
// its table.
func TestCPUBeyondTable(t *testing.T) {
	t.Parallel()
	setsDispatch(t)
	needPerCPU(t)
	const count = 100
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"dispatch": "per-cpu"})
	v := n.view(t)
	p := n.sockets(t)
	to := sink(t, p)
	table := v.info(t).PerCPUPIDs
	lab.Need(t, "second CPU", func() error {
		if len(table) < 2 || table[0] == table[1] {
			return fmt.Errorf("upcall PIDs by CPU are %d", table)
		}
		return nil
	})
	serial := 0
	// load sends from CPU 1 while the daemon is stopped, and returns the bytes queued on the
	// sockets of CPU 0 and 1.
	load := func() (zero, one int) {
		missed := v.info(t).Stats.Missed
		onCPU(t, 1, func() {
			for range count {
				if err := p[0].Send(numbered(t, serial, to)); err != nil {
					t.Error(err)
				}
				serial++
			}
		})
		v.comeUp(t, missed+count)
		return n.sw.SocketQueued(t, table[0]), n.sw.SocketQueued(t, table[1])
	}
	freeze(t, d, func() {
		if zero, one := load(); zero != 0 || one == 0 {
			t.Errorf("packets of CPU 1 queue %d bytes on the socket of CPU 0 and %d on its own", zero, one)
		}
	})
	if got := arrivals(t, p[1], count); got != count {
		t.Errorf("of a CPU in the table %d of %d packets arrived", got, count)
	}
	var since time.Time
	freeze(t, d, func() {
		since = time.Now()
		if _, err := v.SetFeatures(v.info(t).Features, table[:1]); err != nil {
			t.Fatal(err)
		}
		if zero, one := load(); zero == 0 || one != 0 {
			t.Errorf("packets of CPU 1, which is beyond the table, queue %d bytes on the socket of CPU 0 and %d on the other",
				zero, one)
		}
	})
	if got := arrivals(t, p[1], count); got != count {
		t.Errorf("of a CPU beyond the table %d of %d packets arrived", got, count)
	}
	d.Wait(t, since, "features_restored", nil)
	if diff := cmp.Diff(table, v.info(t).PerCPUPIDs); diff != "" {
		t.Errorf("upcall PIDs by CPU (-before +after):\n%s", diff)
	}
	stop(t, d)
	v.explained(t, d)
	if lost := v.info(t).Stats.Lost; lost != 0 {
		t.Errorf("the kernel lost %d packets", lost)
	}
}

// TestDispatchChanges starts with one dispatch on a datapath left by the other.
func TestDispatchChanges(t *testing.T) {
	t.Parallel()
	setsDispatch(t)
	needPerCPU(t)
	n := newQuietNetwork(t, 2)
	p := n.sockets(t)
	for _, dispatch := range []string{"per-cpu", "per-vport", "per-cpu"} {
		d := n.run(t, settings{"dispatch": dispatch})
		exchange(t, p[0], p[1])
		perCPU := n.view(t).info(t).Features&dpif.FeatureDispatchPerCPU != 0
		if want := dispatch == "per-cpu"; perCPU != want {
			t.Errorf("dispatch %s: per CPU %v", dispatch, perCPU)
		}
		if e := d.Events("dispatch_selected"); len(e) != 1 || e[0].Text("dispatch") != dispatch ||
			e[0].Text("reason") != "configured" {
			t.Errorf("dispatch %s: dispatch_selected %v", dispatch, e)
		}
		if err := d.Stop(t, unix.SIGKILL, lab.DaemonLimit); err == nil {
			t.Error("no error after SIGKILL")
		}
	}
}

// TestTooFewDescriptors: a start without enough descriptors for the sockets fails before any port
// is changed. Dispatch by CPU needs no descriptors for ports, so it succeeds.
func TestTooFewDescriptors(t *testing.T) {
	t.Parallel()
	setsDispatch(t)
	n := newQuietNetwork(t, 6)
	start := func(t *testing.T, dispatch string) *lab.Daemon {
		file := lab.WriteConfig(t, n.config(settings{"dispatch": dispatch}))
		return n.sw.StartDaemonFile(t, file, "sh", "-c", `ulimit -n 36; exec "$@"`, "sh")
	}
	t.Run("per-vport", func(t *testing.T) {
		d := start(t, "per-vport")
		if code := d.WaitExit(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if e := d.Events("failed"); len(e) != 1 || !strings.Contains(e[0].Text("error"), "the limit is 36") {
			t.Errorf("failed: %v", e)
		}
		if e := d.Events("port_added"); len(e) != 0 {
			t.Errorf("ports were served: %v", e)
		}
	})
	t.Run("per-cpu", func(t *testing.T) {
		needPerCPU(t)
		d := start(t, "per-cpu")
		d.Wait(t, time.Time{}, "ready", nil)
		p := n.sockets(t)
		exchange(t, p[0], p[5])
		stop(t, d)
	})
}
