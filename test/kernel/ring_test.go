//go:build lab

package kernel_test

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/mmapring"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// needRings skips the test where the kernel has no netlink rings.
func needRings(t *testing.T) {
	t.Helper()
	lab.Need(t, "rings", func() error { return mmapring.Probe(mmapring.RX) })
}

// smallRing sets rings with 25 frames in each block of 64 KiB.
func smallRing(blocks int, more string) settings {
	return settings{
		"ring":     fmt.Sprintf("{mode: auto, frame_size: 2560B, block_size: 64KiB, blocks: %d%s}", blocks, more),
		"flows":    "{max_idle: 60s}",
		"handlers": "2",
	}
}

// finalStats stops the daemon and returns its last stats event.
func finalStats(t *testing.T, d *lab.Daemon) lab.Event {
	t.Helper()
	stop(t, d)
	all := d.Events("stats")
	if len(all) == 0 {
		t.Fatal("no stats")
	}
	return all[len(all)-1]
}

// nextStats waits for the next stats event after now.
func nextStats(t *testing.T, d *lab.Daemon) lab.Event {
	t.Helper()
	return d.Wait(t, time.Now(), "stats", nil)
}

// wantTransport checks the transport of all ports, and returns how many there are.
func wantTransport(t *testing.T, d *lab.Daemon, transport, reason string) int {
	t.Helper()
	all := d.Events("transport_selected")
	for _, e := range all {
		if e.Text("transport") != transport || !strings.Contains(e.Text("reason"), reason) {
			t.Errorf("transport_selected: %v, want %s with %q", e.Fields, transport, reason)
		}
	}
	return len(all)
}

// mappings counts the rings mapped by the daemon.
func mappings(t *testing.T, d *lab.Daemon) int {
	t.Helper()
	maps, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Count(string(maps), "socket:[")
}

// genericSockets counts the generic netlink sockets of a namespace.
func genericSockets(t *testing.T, ns *lab.NetNS) (n int) {
	t.Helper()
	for line := range strings.Lines(ns.Run(t, "cat", "/proc/net/netlink")) {
		if f := strings.Fields(line); len(f) > 1 && f[1] == fmt.Sprint(unix.NETLINK_GENERIC) {
			n++
		}
	}
	return n
}

// newSources returns frames of the given payload sizes from new sources to an unknown station, so
// that each misses.
func newSources(t *testing.T, sizes ...int) (list [][]byte) {
	t.Helper()
	for _, size := range sizes {
		id := serialFrame.Add(1)
		payload := make([]byte, size-14)
		for i := range payload {
			payload[i] = byte(i) ^ byte(i>>8) ^ byte(id)
		}
		list = append(list, lab.Frame(t, "02:51:4c:00:00:77",
			fmt.Sprintf("02:5e:%02x:%02x:%02x:01", byte(id>>16), byte(id>>8), byte(id)), 0x88b7, payload))
	}
	return list
}

// sizes returns n times size.
func sizes(n, size int) (list []int) {
	for range n {
		list = append(list, size)
	}
	return list
}

// crossing sends frames one after the other, and each must arrive.
func crossing(t *testing.T, from, to *lab.Packet, frames [][]byte) {
	t.Helper()
	for _, f := range frames {
		send(t, from, f)
		to.Expect(t, waitLimit, among(f))
	}
}

// halt stops the daemon by SIGSTOP and waits until it is stopped.
func halt(t *testing.T, d *lab.Daemon) {
	t.Helper()
	signal(t, d, unix.SIGSTOP)
	eventually(t, waitLimit, "the daemon is stopped", func() bool {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", d.PID()))
		return err == nil && strings.Contains(string(stat), ") T ")
	})
}

// freeze calls while with the daemon stopped.
func freeze(t *testing.T, d *lab.Daemon, while func()) {
	t.Helper()
	halt(t, d)
	defer signal(t, d, unix.SIGCONT)
	while()
}

// TestRingInPlace: all misses are received in frames of the ring.
func TestRingInPlace(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"flows": "{max_idle: 60s}", "ring": "{mode: require}"})
	p := n.sockets(t)
	var all []int
	for i := range 40 {
		all = append(all, 60+i*1454/39) // up to a full Ethernet frame
	}
	crossing(t, p[0], p[1], newSources(t, all...))
	ports := wantTransport(t, d, "ring", "")
	e := finalStats(t, d)
	if e.Int(t, "received_ring") != 40 || e.Int(t, "received_linear") != 0 || e.Int(t, "received_copy") != 0 ||
		e.Int(t, "lost") != 0 {
		t.Errorf("stats: %v, want 40 received by ring", e.Fields)
	}
	if got := e.Int(t, "ring_bytes"); got != int64(ports)<<24 {
		t.Errorf("ring_bytes %d with %d ports", got, ports)
	}
	h := d.Events("handler_started")[0]
	if h.Text("transport") != "linear" || !strings.Contains(h.Text("reason"), "ring.tx") || e.Int(t, "sent_ring") != 0 {
		t.Errorf("handler_started %v, sent_ring %d; want requests by sendmsg", h.Fields, e.Int(t, "sent_ring"))
	}
	if f := d.Events("features_set"); strings.Contains(f[0].Text("kept"), "unaligned") || f[0].Text("rings") != "true" {
		t.Errorf("features_set: %v, want unaligned off", f[0].Fields)
	}
}

// TestRingTX: with ring.tx: auto requests are sent by TX rings if the kernel transmits from them,
// by sendmsg otherwise; the packets arrive in both cases.
func TestRingTX(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"flows": "{max_idle: 60s}", "ring": "{mode: require, tx: auto}"})
	p := n.sockets(t)
	crossing(t, p[0], p[1], newSources(t, 60, 700, 1514, 60))
	h := d.Events("handler_started")[0]
	e := finalStats(t, d)
	sent := e.Int(t, "sent_ring")
	if d.Events("tx_ring_given_up") == nil && (h.Text("transport") != "ring" || sent == 0) || e.Int(t, "lost") != 0 {
		t.Errorf("handler_started %v; stats: %v, want requests sent by ring", h.Fields, e.Fields)
	}
}

// TestRingJumbo: packets larger than a frame are received whole, by COPY.
func TestRingJumbo(t *testing.T) {
	needRings(t)
	n := build(t, 2, 65000, true)
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	p := n.sockets(t)
	crossing(t, p[0], p[1], newSources(t, 3000, 70, 9014, 60_014, 200, 15_000, 60_014))
	e := finalStats(t, d)
	if e.Int(t, "received_copy") != 5 || e.Int(t, "jumbo") != 5 || e.Int(t, "received_ring") != 2 ||
		e.Int(t, "lost") != 0 || e.Int(t, "malformed") != 0 {
		t.Errorf("stats: %v, want 5 jumbo by COPY and 2 in place", e.Fields)
	}
}

// TestRingJumboPing: hosts with an MTU of 9,000 talk.
func TestRingJumboPing(t *testing.T) {
	needRings(t)
	n := newNetwork(t, 2, 9000)
	d := n.run(t, nil)
	ping(t, n.hosts[0].NetNS, n.hosts[1].ip4, 4, 8000)
	stream(t, n.hosts[0].NetNS, n.hosts[1].NetNS, n.hosts[1].ip4, 4<<20)
	e := finalStats(t, d)
	if e.Int(t, "received_copy") == 0 || e.Int(t, "received_linear") != 0 || e.Int(t, "lost") != 0 {
		t.Errorf("stats: %v, want some by COPY, none linear", e.Fields)
	}
}

// TestRingOverrun: what does not fit in a ring of two frames is lost and counted; afterwards
// everything works as before, including COPY.
func TestRingOverrun(t *testing.T) {
	needRings(t)
	n := build(t, 2, 9000, true)
	d := n.run(t, settings{"ring": "{mode: require, frame_size: 2048B, block_size: 4KiB, blocks: 1}",
		"flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	crossing(t, p[0], p[1], newSources(t, sizes(5, 100)...))
	const burst = 60
	for range 3 {
		before := v.info(t).Stats.Lost
		since := time.Now()
		freeze(t, d, func() {
			send(t, p[0], newSources(t, sizes(burst, 90)...)...)
			eventually(t, waitLimit, "all but two of the burst are lost", func() bool {
				return v.info(t).Stats.Lost >= before+burst-2
			})
		})
		d.Wait(t, since, "upcalls_lost", func(e lab.Event) bool {
			return e.Text("port") == n.hosts[0].port && e.Text("cause") == "ring_full"
		})
		crossing(t, p[0], p[1], newSources(t, 80, 8000, 120, 4000))
	}
	lost := v.info(t).Stats.Lost
	e := finalStats(t, d)
	if e.Int(t, "lost") != int64(lost) || e.Int(t, "overruns") < 3 || e.Int(t, "received_copy") != 6 {
		t.Errorf("stats: %v, want lost %d, 3 overruns and 6 by COPY", e.Fields, lost)
	}
	said := int64(0)
	for _, e := range d.Events("upcalls_lost") {
		said += e.Int(t, "lost")
	}
	if said != int64(lost) {
		t.Errorf("upcalls_lost reports %d, the kernel %d", said, lost)
	}
}

// TestRingBurst: queued frames are read from a ring without a system call for each.
func TestRingBurst(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"flows": "{max_idle: 60s}", "handlers": "1"})
	p := n.sockets(t)
	const burst = 1200
	load := newSources(t, sizes(burst, 300)...)
	before := nextStats(t, d)
	freeze(t, d, func() { send(t, p[0], load...) })
	seen := among(load...)
	for range burst {
		p[1].Expect(t, waitLimit, seen)
	}
	after := nextStats(t, d)
	delta := func(field string) int64 { return after.Int(t, field) - before.Int(t, field) }
	// Each handler also wakes once a second without work.
	if calls := delta("epoll_waits") + delta("received_copy"); delta("upcalls") != burst ||
		delta("received_ring") != burst || calls > burst/10 {
		t.Errorf("%d upcalls, %d by ring, %d system calls to receive them", delta("upcalls"), delta("received_ring"), calls)
	}
	t.Logf("%d upcalls: %d epoll waits, %d batches", burst, delta("epoll_waits"), delta("batches"))
	stop(t, d)
}

// TestRingBurstOfTenThousand: rings of the default size lose none of 10,000 new flows in one burst,
// like ordinary sockets of the default size.
func TestRingBurstOfTenThousand(t *testing.T) {
	needRings(t)
	const count = 10_000
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{type: learning, mac_limit: 20000}", "flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	load := numberedLoad(t, count, sink(t, p))
	got := lab.Collect(t, p[1])
	send(t, p[0], load...)
	eventually(t, 2*waitLimit, "each packet arrives or is counted as lost", func() bool {
		return got.Count()+int(v.info(t).Stats.Lost) >= count
	})
	wantTransport(t, d, "ring", "")
	if e := finalStats(t, d); e.Int(t, "lost") != 0 || e.Int(t, "received_linear") != 0 || got.Count() != count {
		t.Errorf("%d of %d packets arrived; stats: %v, want none lost", got.Count(), count, e.Fields)
	}
}

// TestRingRestart: rings and their contents are handed over by exec. Packets that came up while
// neither process read are forwarded by the new one, large ones included.
func TestRingRestart(t *testing.T) {
	needRings(t)
	const restarts, waiting = 3, 300
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{type: learning, mac_limit: 20000}", "flows": "{max_idle: 60s}",
		"ring": "{mode: require}"})
	v := n.view(t)
	p := n.sockets(t)
	before := v.listeners(t)
	sockets := int64(len(before.pids()))
	crossing(t, p[0], p[1], newSources(t, sizes(20, 200)...))
	for i := range restarts {
		load := newSources(t, sizes(waiting, 100+400*i)...)
		seen := among(load...)
		since := time.Now()
		freeze(t, d, func() {
			send(t, p[0], load[:waiting/2]...)
			signal(t, d, unix.SIGUSR2)
		})
		send(t, p[0], load[waiting/2:]...)
		if e := d.Wait(t, since, "handed_over", nil); e.Int(t, "sockets") != sockets || e.Int(t, "not_handed_over") != 0 {
			t.Errorf("handed_over: %v, want %d sockets", e.Fields, sockets)
		}
		e := d.Wait(t, since, "sockets_adopted", nil)
		if e.Int(t, "adopted") != sockets || e.Int(t, "rings_adopted") != sockets || e.Int(t, "frames_answered") != 0 ||
			e.Int(t, "heads_guessed") != 0 {
			t.Errorf("sockets_adopted: %v, want %d rings", e.Fields, sockets)
		}
		d.Wait(t, since, "ready", nil)
		for range waiting {
			p[1].Expect(t, waitLimit, seen)
		}
		crossing(t, p[0], p[1], newSources(t, 60, 1514, 60))
	}
	if diff := cmp.Diff(before, v.listeners(t)); diff != "" {
		t.Errorf("upcall PIDs (-before the restarts +after):\n%s", diff)
	}
	wantTransport(t, d, "ring", "")
	if e := finalStats(t, d); e.Int(t, "lost") != 0 || v.info(t).Stats.Lost != 0 || e.Int(t, "receive_errors") != 0 {
		t.Errorf("kernel lost %d; stats: %v, want none lost", v.info(t).Stats.Lost, e.Fields)
	}
}

// TestRingRestartOff: a ring that the new configuration does not use is drained, and the port
// continues without a ring.
func TestRingRestartOff(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 2)
	file := lab.WriteConfig(t, n.config(settings{"flows": "{max_idle: 60s}", "ring": "{mode: require}"}))
	d := n.sw.StartDaemonFile(t, file)
	d.Wait(t, time.Time{}, "ready", nil)
	p := n.sockets(t)
	crossing(t, p[0], p[1], newSources(t, sizes(5, 200)...))
	load := newSources(t, sizes(100, 300)...)
	seen := among(load...)
	since := time.Now()
	off := n.config(settings{"flows": "{max_idle: 60s}", "ring": "{mode: off}"})
	if err := os.WriteFile(file, []byte(off), 0o644); err != nil {
		t.Fatal(err)
	}
	freeze(t, d, func() {
		send(t, p[0], load...)
		signal(t, d, unix.SIGUSR2)
	})
	d.Wait(t, since, "ready", nil)
	for range load {
		p[1].Expect(t, waitLimit, seen)
	}
	crossing(t, p[0], p[1], newSources(t, 60, 1514, 60))
	if got := mappings(t, d); got != 0 {
		t.Errorf("%d rings are mapped", got)
	}
	if e := finalStats(t, d); e.Int(t, "lost") != 0 || e.Int(t, "ring_bytes") != 0 {
		t.Errorf("stats: %v, want none lost and no ring", e.Fields)
	}
}

// TestRingNewFlows creates 1,000 new flows a second for 10 s.
func TestRingNewFlows(t *testing.T) {
	needRings(t)
	const count, rate = 10_000, 1_000
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{type: learning, mac_limit: 20000}", "flows": "{max_idle: 60s}"})
	p := n.sockets(t)
	const sink = "02:51:4c:00:00:98"
	hello := frame(t, broadcast, sink)
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	paced(t, p[0], sink, count, rate)
	if got := arrivals(t, p[1], count); got != count {
		t.Errorf("%d of %d packets arrived", got, count)
	}
	e := finalStats(t, d)
	if e.Int(t, "lost") != 0 || e.Int(t, "received_ring") != count+1 || e.Int(t, "received_linear") != 0 ||
		len(d.Events("upcalls_lost")) != 0 {
		t.Errorf("stats: %v, want none lost and %d by ring", e.Fields, count+1)
	}
	t.Logf("%d upcalls: %d epoll waits, %d batches", count, e.Int(t, "epoll_waits"), e.Int(t, "batches"))
}

// TestRingPortRemoved: the frames queued for a removed port are answered, and its ring is unmapped.
func TestRingPortRemoved(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 3)
	// The port must not be configured, or it would be attached again.
	late := n.hosts[2]
	n.hosts = n.hosts[:2]
	d := n.run(t, smallRing(4, ""))
	v := n.view(t)
	p := n.sockets(t)
	q := late.OpenPacket(t, "eth0")
	exchange(t, p[0], p[1]) // both handlers send, and close a TX ring that does not work
	before := mappings(t, d)
	since := time.Now()
	port, err := v.AddVport(late.port, dpif.VportNetdev, 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	d.Wait(t, since, "transport_selected", forPort(late.port))
	if got := mappings(t, d); got != before+1 {
		t.Errorf("%d rings are mapped with the port, %d without", got, before)
	}
	crossing(t, q, p[1], newSources(t, 100, 1400))
	const waiting = 20
	freeze(t, d, func() {
		missed := v.info(t).Stats.Missed
		send(t, q, newSources(t, sizes(waiting, 333)...)...)
		v.comeUp(t, missed+waiting)
		if err := v.DeleteVport(port.No); err != nil {
			t.Fatal(err)
		}
	})
	e := d.Wait(t, since, "port_removed", forPort(late.port))
	if e.Int(t, "upcalls") != waiting+2 || e.Int(t, "lost") != 0 {
		t.Errorf("port_removed: %v, want %d upcalls, none lost", e.Fields, waiting+2)
	}
	if got := mappings(t, d); got != before {
		t.Errorf("%d rings are mapped after the port has gone, %d before it came", got, before)
	}
	exchange(t, p[0], p[1])
	stop(t, d)
}

// TestRingsLeaveNothing: two runs in a row, the first killed with frames in its rings, leave no
// sockets.
func TestRingsLeaveNothing(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 2)
	sockets := genericSockets(t, n.sw)
	p := n.sockets(t)
	d := n.run(t, smallRing(4, ""))
	exchange(t, p[0], p[1])
	if got := mappings(t, d); got < 3 {
		t.Errorf("%d rings are mapped for 3 ports", got)
	}
	stop(t, d)
	if got := genericSockets(t, n.sw); got != sockets {
		t.Errorf("%d sockets are left, %d were there before", got, sockets)
	}
	d = n.run(t, smallRing(4, ""))
	freeze(t, d, func() { send(t, p[0], newSources(t, sizes(10, 400)...)...) })
	// The exit code of a killed process is irrelevant.
	_ = d.Stop(t, unix.SIGKILL, lab.DaemonLimit)
	if got := genericSockets(t, n.sw); got != sockets {
		t.Errorf("%d sockets are left by a killed daemon, %d were there before", got, sockets)
	}
	d = n.run(t, smallRing(4, ""))
	wantTransport(t, d, "ring", "")
	crossing(t, p[0], p[1], newSources(t, 60, 1000, 1514))
	if e := finalStats(t, d); e.Int(t, "received_ring") < 3 {
		t.Errorf("stats: %v, want 3 by ring", e.Fields)
	}
}

// TestRingOff: with ring.mode off no ring is used. The test holds on any kernel.
func TestRingOff(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"ring": "{mode: 'off'}"})
	p := n.sockets(t)
	crossing(t, p[0], p[1], newSources(t, 60, 900, 1514))
	if got := mappings(t, d); got != 0 {
		t.Errorf("%d rings are mapped", got)
	}
	sockets := 3
	if perCPU {
		sockets = 0 // of ports
	}
	if got := wantTransport(t, d, "linear", "rings are off"); got != sockets {
		t.Errorf("%d ports have sockets, want %d", got, sockets)
	}
	e := finalStats(t, d)
	if e.Int(t, "received_linear") != 3 || e.Int(t, "received_ring") != 0 || e.Int(t, "ring_bytes") != 0 ||
		e.Int(t, "sent_ring") != 0 {
		t.Errorf("stats: %v, want 3 received, all linear", e.Fields)
	}
	if f := d.Events("features_set"); !strings.Contains(f[0].Text("asked"), "unaligned") || f[0].Text("rings") != "false" {
		t.Errorf("features_set: %v, want unaligned asked for", f[0].Fields)
	}
}

// TestRingRequired: with ring.mode require the daemon fails to start on a kernel without rings.
func TestRingRequired(t *testing.T) {
	t.Parallel()
	why := mmapring.Probe(mmapring.RX)
	if why == nil {
		t.Skip("the kernel has rings")
	}
	n := newQuietNetwork(t, 1)
	d := n.sw.StartDaemon(t, n.config(settings{"ring": "{mode: require}"}))
	if code := d.WaitExit(t); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	e := d.Wait(t, time.Time{}, "failed", nil)
	for _, want := range []string{"rings are required", "kernel has no memory-mapped netlink"} {
		if !strings.Contains(e.Text("error"), want) {
			t.Errorf("failed: %q lacks %q", e.Text("error"), want)
		}
	}
	if len(d.Events("ready")) != 0 {
		t.Error("the daemon was ready")
	}

	// With auto the daemon serves on the same kernel, and the log gives the reason.
	auto := n.run(t, settings{"ring": "{mode: auto}"})
	wantTransport(t, auto, "linear", "kernel has no memory-mapped netlink")
	stop(t, auto)
}

// TestRingChurn: 50 ports come and go, and their rings with them.
func TestRingChurn(t *testing.T) {
	needRings(t)
	const ports = 50
	n := newQuietNetwork(t, 2)
	d := n.run(t, smallRing(2, ""))
	v := n.view(t)
	p := n.sockets(t)
	far := lab.NewNetNS(t, "far")
	noIPv6(t, far)
	exchange(t, p[0], p[1]) // both handlers send, and close a TX ring that does not work
	before := mappings(t, d)
	names := make([]string, ports)
	for i := range names {
		names[i] = lab.Name("churn")
		lab.Veth(t, lab.End{NS: n.sw, Name: names[i]}, lab.End{NS: far, Name: names[i]})
	}
	for round := range 2 {
		since := time.Now()
		for _, name := range names {
			if _, err := v.AddVport(name, dpif.VportNetdev, 0, 0); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range names {
			if e := d.Wait(t, since, "transport_selected", forPort(name)); e.Text("transport") != "ring" {
				t.Errorf("transport_selected: %v, want ring", e.Fields)
			}
		}
		if got := mappings(t, d); got != before+ports {
			t.Errorf("%d rings are mapped, want %d", got, before+ports)
		}
		q := far.OpenPacket(t, names[round*7+3])
		crossing(t, q, p[0], newSources(t, 64, 1500))
		for i, name := range names {
			if round == 1 && i%2 == 0 {
				n.sw.DeleteLink(t, name)
			} else if err := v.DeleteVport(v.portNo(t, name)); err != nil {
				t.Fatal(err)
			}
		}
		for _, name := range names {
			d.Wait(t, since, "port_removed", forPort(name))
		}
		if got := mappings(t, d); got != before {
			t.Errorf("%d rings are mapped after the ports have gone, %d before they came", got, before)
		}
		exchange(t, p[0], p[1])
	}
	if e := finalStats(t, d); e.Int(t, "ring_bytes") != 3*2<<16 || e.Int(t, "lost") != 0 ||
		len(d.Events("ring_denied")) != 0 {
		t.Errorf("stats: %v, want rings of 3 ports and nothing lost", e.Fields)
	}
}

// TestRingMemoryLimit: the limit allows one ring; the other ports and the handler use linear
// transport.
func TestRingMemoryLimit(t *testing.T) {
	needRings(t)
	n := newQuietNetwork(t, 3)
	s := smallRing(4, ", memory_limit: 256KiB")
	s["handlers"] = "1"
	d := n.run(t, s)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	exchange(t, p[2], p[0])
	rings := 0
	for _, e := range d.Events("transport_selected") {
		switch e.Text("transport") {
		case "ring":
			rings++
		case "linear":
			if !strings.Contains(e.Text("reason"), "memory limit") {
				t.Errorf("transport_selected: %v, want the limit as the reason", e.Fields)
			}
		}
	}
	denied := d.Events("ring_denied")
	if rings != 1 || len(denied) != 3 || mappings(t, d) != 1 {
		t.Errorf("%d rings, %d denied, %d mapped; want 1 of 4 ports", rings, len(denied), mappings(t, d))
	}
	for _, e := range denied {
		if e.Level != "WARN" || e.Int(t, "ring_bytes") != 256<<10 || e.Int(t, "used_bytes") != 256<<10 ||
			e.Int(t, "limit_bytes") != 256<<10 {
			t.Errorf("ring_denied: %v", e.Fields)
		}
	}
	if e := finalStats(t, d); e.Int(t, "ring_bytes") != 256<<10 || e.Int(t, "lost") != 0 {
		t.Errorf("stats: %v, want one ring", e.Fields)
	}
}
