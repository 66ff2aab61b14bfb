//go:build lab

package kernel_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// stopLimit is the maximum time from the signal to the daemon's exit.
const stopLimit = time.Second

func TestStop(t *testing.T) {
	for _, tt := range []struct {
		onExit string
		signal unix.Signal
		event  string // event that on_exit logs, "" for none
	}{
		{"keep", unix.SIGTERM, ""},
		{"flush", unix.SIGINT, "flows_flushed"},
		{"delete", unix.SIGTERM, "datapath_deleted"},
	} {
		t.Run(tt.onExit, func(t *testing.T) {
			t.Parallel()
			n := newQuietNetwork(t, 4)
			d := n.run(t, settings{"datapath": fmt.Sprintf("{name: %s, on_exit: %s}", n.dpName, tt.onExit),
				"flows": "{max_idle: 10m}"})
			v := n.view(t)
			p := n.sockets(t)
			exchange(t, p[0], p[3])
			// A packet is forwarded before its flow is installed.
			const flows = 2
			eventually(t, waitLimit, "two flows", func() bool { return len(v.flows(t)) == flows })
			for _, vp := range v.vports(t) {
				if !perCPU && (len(vp.UpcallPIDs) != 1 || vp.UpcallPIDs[0] == 0) {
					t.Errorf("while the daemon runs, port %s has upcall PIDs %d", vp.Name, vp.UpcallPIDs)
				}
			}

			start, watch := time.Now(), lab.StartStopwatch()
			err := d.Stop(t, tt.signal, lab.DaemonLimit)
			took, stalled := time.Since(start), watch.Stalled()
			t.Logf("%v: exit after %v, stalled for %v of that", tt.signal, took.Round(time.Millisecond), stalled)
			if err != nil || took > stopLimit+stalled {
				t.Errorf("%v: exit after %v with %v, want %v at most and exit code 0", tt.signal, took, err, stopLimit)
			}
			if e := d.Events("stopping"); len(e) != 1 || !strings.Contains(e[0].Text("reason"), tt.signal.String()) {
				t.Errorf("stopping: %v", e)
			}
			if tt.event != "" && len(d.Events(tt.event)) != 1 {
				t.Errorf("no event %s", tt.event)
			}
			if tt.onExit == "delete" {
				_, err := v.Info()
				wantErrno(t, "info of the datapath that on_exit deletes", err, unix.ENODEV)
				return
			}
			for _, vp := range v.vports(t) {
				if !slices.Equal(vp.UpcallPIDs, []uint32{0}) {
					t.Errorf("port %s has upcall PIDs %d after the stop, want 0", vp.Name, vp.UpcallPIDs)
				}
			}
			want := flows
			if tt.onExit == "flush" {
				want = 0
			}
			if got := len(v.flows(t)); got != want {
				t.Errorf("%d flows after the stop, %d before, want %d", got, flows, want)
			}
		})
	}
}

// TestTakeOver: flows forward while no daemon runs, and the next one adopts them without loss.
func TestTakeOver(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	first := n.run(t, nil)
	v := n.view(t)
	addrs := []string{"192.168.91.70", "192.168.91.71"}
	for i, h := range n.hosts {
		h.Run(t, "ip", "address", "add", addrs[i]+"/24", "dev", "eth0")
	}
	ping(t, n.hosts[0].NetNS, addrs[1], 3, 56)
	eventually(t, waitLimit, "two flows that do not flood", func() bool {
		one := 0
		for f := range v.flows(t) {
			if f.actions == v.portNo(t, n.hosts[0].port).String() || f.actions == v.portNo(t, n.hosts[1].port).String() {
				one++
			}
		}
		return one >= 2
	})
	const pings = 40
	answered := make(chan int, 1)
	hits := v.info(t).Stats.Hit
	lab.Go(t, func(context.Context) {
		got, err := n.hosts[0].TryEcho(addrs[1], pings, 777, waitLimit)
		if err != nil {
			t.Error(err)
		}
		answered <- got
	})
	eventually(t, waitLimit, "pings are answered", func() bool { return v.info(t).Stats.Hit >= hits+6 })
	stop(t, first)
	second := n.run(t, nil)
	if got := <-answered; got != pings {
		t.Errorf("%d of %d pings across the change of daemons were answered", got, pings)
	}
	if e := second.Wait(t, time.Time{}, "flows_adopted", nil); e.Int(t, "flows") < 2 {
		t.Errorf("flows_adopted: %v, want 2 at least", e.Fields)
	}
	for _, e := range second.Events("port_added") {
		if e.Text("created") != "false" {
			t.Errorf("port_added of the second run: %v", e.Fields)
		}
	}
	if e := second.Events("datapath_opened"); e[0].Text("created") != "false" {
		t.Errorf("datapath_opened: %v", e[0].Fields)
	}
	stop(t, second)
	if lost := v.info(t).Stats.Lost; lost != 0 {
		t.Errorf("the kernel lost %d upcalls", lost)
	}
}

// TestStaleFlowIsCorrected: flows of another program that contradict the policy are corrected or
// removed.
func TestStaleFlowIsCorrected(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	const macA, macB = "02:57:a1:e0:00:0a", "02:57:a1:e0:00:0b"
	n.sw.DPCtl(t, "add-dp", n.dpName)
	for _, h := range n.hosts {
		n.sw.DPCtl(t, "add-if", n.dpName, h.port)
	}
	stale := []string{
		"in_port(1),eth(src=" + macA + ",dst=" + macB + "),eth_type(0x0806),arp()",
		"in_port(2),eth(),eth_type(0x0806),arp()",                                  // too wide
		"in_port(9),eth(src=" + macA + ",dst=" + macB + "),eth_type(0x0806),arp()", // no such port
	}
	arp := func(dst, src string) []byte {
		f := frame(t, dst, src)
		f[12], f[13] = 0x08, 0x06
		return f
	}
	for _, key := range stale {
		n.sw.DPCtl(t, "add-flow", n.dpName, key, "77") // to a port that does not exist
	}
	p := n.sockets(t)
	send(t, p[0], arp(macB, macA)) // so that the flow is used
	watch := lab.StartStopwatch()
	d := n.run(t, settings{"log": "{level: debug}"})
	v := n.view(t)
	e := d.Wait(t, time.Time{}, "flows_adopted", nil)
	if got := e.Int(t, "flows"); got != int64(len(stale)) {
		t.Errorf("flows_adopted: %d flows, want %d", got, len(stale))
	}
	eventually(t, waitLimit, "no flow is wrong", func() bool {
		for f := range v.flows(t) {
			if f.actions == "77" {
				return false
			}
		}
		return true
	})
	took, stalled := time.Since(e.Time), watch.Stalled()
	t.Logf("corrected after %v, stalled for %v since the start", took.Round(time.Millisecond), stalled)
	if took > cycle+slack+stalled {
		t.Errorf("corrected after %v, want one cycle at most", took)
	}
	for range 3 {
		there, back := arp(macB, macA), arp(macA, macB)
		send(t, p[0], there)
		p[1].Expect(t, waitLimit, among(there))
		send(t, p[1], back)
		p[0].Expect(t, waitLimit, among(back))
	}
	stop(t, d)
	if len(d.Events("flow_changed")) < len(stale) || len(d.Events("upcall")) == 0 {
		t.Errorf("at level debug: %d flow_changed, %d upcall", len(d.Events("flow_changed")), len(d.Events("upcall")))
	}
}

// TestQueuedUpcallsAreAnswered: packets whose upcalls are queued before the stop are forwarded.
func TestQueuedUpcallsAreAnswered(t *testing.T) {
	t.Parallel()
	const count = 300
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	v := n.view(t)
	p := n.sockets(t)
	load := make([][]byte, count)
	for i := range load {
		load[i] = numbered(t, i, broadcast)
	}
	freeze(t, d, func() {
		send(t, p[0], load...)
		v.comeUp(t, count)
		signal(t, d, unix.SIGTERM) // before it has answered any
	})
	if code := d.WaitExit(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if lost := v.info(t).Stats.Lost; lost != 0 {
		t.Errorf("the kernel lost %d upcalls", lost)
	}
	if got := arrivals(t, p[1], count); got != count {
		t.Errorf("%d of %d packets arrived", got, count)
	}
}

// TestNoDatapath: with create: false a missing datapath is an error.
func TestNoDatapath(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 0)
	d := n.sw.StartDaemon(t, n.config(settings{"datapath": fmt.Sprintf("{name: %s, create: false}", n.dpName)}))
	if code := d.WaitExit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	e := d.Wait(t, time.Time{}, "failed", nil)
	if !strings.Contains(e.Text("error"), n.dpName) || !strings.Contains(e.Text("error"), "create") {
		t.Errorf("failed: %q names neither the datapath nor the setting", e.Text("error"))
	}
	conn, fam := dial(t, n.sw)
	if _, err := dpif.OpenDatapath(conn, fam, n.dpName); !errors.Is(err, unix.ENODEV) {
		t.Errorf("the datapath: %v, want it absent", err)
	}
}

// TestConsoleFormat checks the log format for people.
func TestConsoleFormat(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 1)
	file := lab.WriteConfig(t, n.config(settings{"log": "{format: console}"}))
	p := n.sw.Start(t, lab.DaemonPath(t), "run", "-c", file)
	line := p.WaitLine(t, lab.DaemonLimit, func(line string) bool { return strings.Contains(line, "ready") })
	words := strings.Fields(line)
	if len(words) < 4 || words[1] != "INFO" || words[2] != "ready" || words[3] != "datapath="+n.dpName {
		t.Errorf("line %q is not time, level, event and fields", line)
	}
	if _, err := time.Parse("15:04:05.000", words[0]); err != nil {
		t.Error(err)
	}
	if err := p.Stop(t, unix.SIGINT, lab.DaemonLimit); err != nil {
		t.Error(err)
	}
}
