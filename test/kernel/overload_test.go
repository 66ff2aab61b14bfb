//go:build lab

package kernel_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
	"dpifd/test/bench/load"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// flood sends frames from unknown sources to dst as fast as possible until end is called, which
// returns the number sent. Each frame creates a flow.
func flood(t *testing.T, p *lab.Packet, dst string) (end func() int) {
	t.Helper()
	f := lab.Frame(t, dst, "02:f1:00:00:00:00", 0x88b7, make([]byte, 46))
	return beside(t, load.Endless, 0, func(i int) error {
		binary.BigEndian.PutUint32(f[8:], uint32(i))
		return p.Send(f)
	})
}

var procField = regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB$`)

// rss returns the resident memory of a process in bytes.
func rss(t *testing.T, pid int) int {
	t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	m := procField.FindSubmatch(status)
	if err != nil || m == nil {
		t.Fatalf("memory of process %d: %v\n%s", pid, err, status)
	}
	n, err := strconv.Atoi(string(m[1]))
	if err != nil {
		t.Fatal(err)
	}
	return n << 10
}

// latencies are the times that the frames of a load took from one socket to another.
type latencies []time.Duration

func (l latencies) String() string {
	if len(l) == 0 {
		return "none"
	}
	at := func(p float64) time.Duration {
		return l[min(len(l)-1, int(p*float64(len(l))))].Round(10 * time.Microsecond)
	}
	return fmt.Sprintf("p50 %v, p99 %v, max %v", at(0.5), at(0.99), at(1))
}

func (l latencies) p99() time.Duration { return l[min(len(l)-1, len(l)*99/100)] }

// firstPackets sends count frames at rate a second, each the first of a new flow, and returns the
// latencies of those that arrived within waitLimit.
func firstPackets(t *testing.T, from, to *lab.Packet, dst string, serial *int, count, rate int) latencies {
	t.Helper()
	sent := make(map[uint32]time.Time, count)
	var took latencies
	take := func(limit time.Duration) bool {
		f, err := to.Receive(limit)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			return false
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, ours := sent[binary.BigEndian.Uint32(f[8:])]; ours && binary.BigEndian.Uint16(f[12:]) == 0x88b8 {
			took = append(took, to.Arrived().Sub(at))
		}
		return true
	}
	f := lab.Frame(t, dst, "02:9e:00:00:00:00", 0x88b8, make([]byte, 46))
	start := time.Now()
	for i := range count {
		// Send at fixed times, so that a delay does not move the following frames.
		next := start.Add(time.Duration(i) * time.Second / time.Duration(rate))
		for left := time.Until(next); left > 0; left = time.Until(next) {
			take(left)
		}
		*serial++
		id := uint32(*serial)
		binary.BigEndian.PutUint32(f[8:], id)
		sent[id] = time.Now().Round(0)
		send(t, from, f)
	}
	for within := lab.Within(waitLimit); len(took) < count && !within.Passed(); {
		take(within.Left())
	}
	slices.Sort(took)
	return took
}

// unitNice is the nice value of dpifd's unit (deploy/systemd).
const unitNice = -10

// nice sets the nice value of the daemon's unit; on Linux each thread has its own.
func nice(t *testing.T, d *lab.Daemon) {
	t.Helper()
	// Twice, for threads created meanwhile.
	for range 2 {
		threads, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", d.PID()))
		if err != nil {
			t.Fatal(err)
		}
		for _, thread := range threads {
			id, err := strconv.Atoi(thread.Name())
			if err == nil {
				err = unix.Setpriority(unix.PRIO_PROCESS, id, unitNice)
			}
			if err != nil && err != unix.ESRCH {
				t.Fatalf("nice value of thread %s: %v", thread.Name(), err)
			}
		}
	}
}

// loggedLosses sums the losses in upcalls_lost by cause.
func loggedLosses(t *testing.T, d *lab.Daemon) map[string]int64 {
	t.Helper()
	said := map[string]int64{}
	for _, e := range d.Events("upcalls_lost") {
		said[e.Text("cause")] += e.Int(t, "lost")
	}
	return said
}

// explained checks, after the daemon has stopped, that all missed packets are accounted for by the
// counters of the datapath, the sockets and the daemon together.
func (v view) explained(t *testing.T, d *lab.Daemon) {
	t.Helper()
	k := v.info(t).Stats
	all := d.Events("stats")
	last := all[len(all)-1]
	said := loggedLosses(t, d)
	drops := last.Int(t, "socket_drops")
	t.Logf("missed %d = upcalls %s + shed %s + lost %d; lost by cause %v", k.Missed, last.Text("upcalls"),
		last.Text("shed"), k.Lost, said)
	counted := last.Int(t, "upcalls") + last.Int(t, "shed") + last.Int(t, "decode_errors") + int64(k.Lost)
	if counted != int64(k.Missed) {
		t.Errorf("the datapath missed %d packets, %d are accounted for", k.Missed, counted)
	}
	if got := drops + said["no_listener"]; got != int64(k.Lost) {
		t.Errorf("the datapath lost %d packets; the sockets dropped %d, %d had no listener", k.Lost, drops,
			said["no_listener"])
	}
	fail, known := int64(0), false
	for _, p := range v.vports(t) {
		fail, known = fail+int64(p.Upcalls.Fail), known || p.Upcalls.Known
	}
	// The ports also count packets too large for an upcall, but not those without a PID.
	if known && (fail < drops || fail > int64(k.Lost)) {
		t.Errorf("by the kernel's count of each port %d upcalls failed; the sockets dropped %d, the datapath lost %d",
			fail, drops, k.Lost)
	}
	if said["socket_overflow"]+said["ring_full"] != drops || said["shed"] != last.Int(t, "shed") {
		t.Errorf("upcalls_lost says %v; stats say socket_drops %d, shed %s", said, drops, last.Text("shed"))
	}
	sum := int64(0)
	for cause, n := range said {
		if cause != "no_listener" {
			sum += n
		}
	}
	if got := d.Events("stopped")[0].Int(t, "lost"); got != sum {
		t.Errorf("stopped says lost %d, upcalls_lost by cause %v", got, said)
	}
}

// TestFairness: new flows that flood one port cost another port no packets and little time.
func TestFairness(t *testing.T) {
	perVport(t)
	const flooder, sink, quiet, peer = 0, 1, 2, 3
	const sinkMAC, peerMAC = "02:51:4c:00:05:01", "02:51:4c:00:05:03"
	n := newQuietNetwork(t, 4)
	d := n.run(t, nil)
	nice(t, d)
	v := n.view(t)
	p := n.sockets(t)
	for i, mac := range map[int]string{sink: sinkMAC, peer: peerMAC} {
		hello := frame(t, broadcast, mac)
		send(t, p[i], hello)
		p[quiet].Expect(t, waitLimit, among(hello))
	}
	serial := 0
	firstPackets(t, p[quiet], p[peer], peerMAC, &serial, 40, 20) // warm up
	idle := firstPackets(t, p[quiet], p[peer], peerMAC, &serial, 200, 20)
	memory := rss(t, d.PID())
	t.Logf("idle: %v; memory %d KiB", idle, memory>>10)

	before := v.info(t).Stats.Missed
	start := time.Now()
	end := flood(t, p[flooder], sinkMAC)
	for _, rate := range []int{10, 20} {
		count := 10 * rate
		got := firstPackets(t, p[quiet], p[peer], peerMAC, &serial, count, rate)
		t.Logf("beside the flood, %d/s: %d of %d arrived; %v; p99 %.1f times that of idle", rate, len(got), count, got,
			float64(got.p99())/float64(idle.p99()))
		if len(got) != count {
			t.Errorf("of the quiet port's %d packets at %d/s, %d arrived", count, rate, len(got))
		}
		now := rss(t, d.PID())
		t.Logf("memory %d KiB", now>>10)
		// A quarter of the memory that all flows of the flood would need.
		if now > memory+48<<20 {
			t.Errorf("memory grew from %d to %d KiB", memory>>10, now>>10)
		}
	}
	sent := end()
	took := time.Since(start)
	t.Logf("flood: %d packets sent in %v, %.0f/s; %.0f/s missed", sent, took.Round(time.Second),
		float64(sent)/took.Seconds(), float64(v.info(t).Stats.Missed-before)/took.Seconds())
	stop(t, d)
	v.explained(t, d)
	for _, e := range d.Events("upcalls_lost") {
		if port := e.Text("port"); port != n.hosts[flooder].port {
			t.Errorf("port %s lost %s, cause %s", port, e.Text("lost"), e.Text("cause"))
		}
	}
}

// cpuTime returns the CPU time used by a process.
func cpuTime(t *testing.T, pid int) time.Duration {
	t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Fatal(err)
	}
	// Fields 14 and 15 of proc(5), in 1/100 s; field 2, in parentheses, may contain spaces.
	f := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, s := range f[11:13] {
		n, err := strconv.Atoi(s)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

// TestMaxUpcalls: upcalls of a port above its limit are shed and counted; a reload changes or
// removes the limit and nothing else about the port.
func TestMaxUpcalls(t *testing.T) {
	const sinkMAC = "02:51:4c:00:06:01"
	const low, high = 300, 1000
	n := newQuietNetwork(t, 3)
	name := n.hosts[0].port
	config := func(limit string) settings {
		ports := fmt.Sprintf("[{name: %s, max_upcalls: %s}, {name: %s}, {name: %s}]", name, limit, n.hosts[1].port,
			n.hosts[2].port)
		return settings{"ports": ports, "log": "{level: info, stats_interval: 200ms}"}
	}
	d := n.run(t, config(fmt.Sprintf("%d/s", low)))
	v := n.view(t)
	p := n.sockets(t)
	hello := frame(t, broadcast, sinkMAC)
	send(t, p[1], hello)
	p[2].Expect(t, waitLimit, among(hello))
	pids := v.vports(t)[name].UpcallPIDs

	type counters struct {
		shed, served int64
		at           time.Time
	}
	read := func(since time.Time) counters {
		e := d.Wait(t, since, "stats", nil)
		return counters{e.Int(t, "shed"), e.Int(t, "upcalls"), e.Time}
	}
	end := flood(t, p[0], sinkMAC)
	for _, step := range []struct {
		reload string // "" for the limit at start
		limit  int64  // 0 for none
	}{{"", low}, {fmt.Sprintf("%d/s", high), high}, {"0", 0}, {fmt.Sprintf("%d/s", low), low}} {
		since := time.Now()
		if step.reload != "" {
			since = reload(t, d, n.config(config(step.reload)))
			d.Wait(t, since, "reloaded", nil)
			since = time.Now()
		}
		cpu, missed := cpuTime(t, d.PID()), v.info(t).Stats.Missed
		first := read(since)
		time.Sleep(3 * time.Second)
		last := read(time.Now())
		took, served, shed := last.at.Sub(first.at), last.served-first.served, last.shed-first.shed
		t.Logf("limit %s: in %v %d upcalls served, %d shed; the daemon used %v of CPU time for %d packets", step.reload,
			took.Round(time.Millisecond),
			served, shed, (cpuTime(t, d.PID()) - cpu).Round(10*time.Millisecond), v.info(t).Stats.Missed-missed)
		if step.limit == 0 {
			// At most the packets that were in flight when the limit was lifted are shed.
			if after := read(last.at).shed; after != last.shed {
				t.Errorf("without limit, shed rose from %d to %d", last.shed, after)
			}
			continue
		}
		// The limit allows a burst of one second's worth, then the rate. The counters are read
		// before the event gets its time.
		if most := step.limit + step.limit*took.Milliseconds()/1000 + step.limit; served > most {
			t.Errorf("limit %d: %d upcalls in %v, at most %d", step.limit, served, took, most)
		}
		if shed == 0 {
			t.Errorf("limit %d: nothing was shed", step.limit)
		}
	}
	t.Logf("%d packets sent", end())
	if diff := cmp.Diff(pids, v.vports(t)[name].UpcallPIDs); diff != "" {
		t.Errorf("upcall PIDs (-before the reloads +after):\n%s", diff)
	}
	// The other ports have no limit.
	exchange(t, p[1], p[2])
	stop(t, d)
	v.explained(t, d)
	if got := d.Events("port_removed"); len(got) != 0 {
		t.Errorf("a reload of limits took ports away: %v", got)
	}
	for _, e := range d.Events("upcalls_lost") {
		if perCPU && e.Text("cause") == "socket_overflow" {
			continue // all ports share the queue
		}
		if e.Text("port") != name {
			t.Errorf("port %s lost %s, cause %s", e.Text("port"), e.Text("lost"), e.Text("cause"))
		}
	}
}
