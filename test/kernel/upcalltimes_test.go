//go:build lab

package kernel_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/endpoint"
	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// TestUpcallTimes compares the upcall latency that the daemon reports with a capture at all ports.
// Each frame is flooded. Its copies leave one after the other while the handler sends the answer,
// so the time between the first and the last copy is a lower bound of the latency on any machine.
// The time from arrival to the last copy is not an upper bound: it includes the wake-up of the
// handler's thread, which the daemon does not measure, and lacks what the handler does after the
// last copy.
func TestUpcallTimes(t *testing.T) {
	const frames, rate = 600, 200
	n := newQuietNetwork(t, 8)
	var taps []*lab.Packet
	for _, h := range n.hosts {
		p := n.sw.OpenPacket(t, h.port)
		p.TakeOutgoing()
		taps = append(taps, p)
	}
	started := time.Now()
	d := n.run(t, settings{"log": "{stats_interval: 1h}"})
	nice(t, d)
	trace := traceUpcalls(t, n, d)
	p := n.sockets(t)
	f := lab.Frame(t, broadcast, "02:9d:00:00:00:00", 0x88b7, make([]byte, 46))
	beside(t, frames, rate, func(i int) error {
		binary.BigEndian.PutUint32(f[8:], uint32(i))
		return p[0].Send(f)
	})
	var seen [][]time.Time // by tap and frame
	for _, tap := range taps {
		at := make([]time.Time, frames)
		for range frames {
			got := tap.Expect(t, waitLimit, func(got []byte) bool { return binary.BigEndian.Uint16(got[12:]) == 0x88b7 })
			at[binary.BigEndian.Uint32(got[8:])] = tap.Arrived()
		}
		seen = append(seen, at)
	}
	var sending, whole latencies
	for i := range frames {
		var copies []time.Time
		for _, at := range seen[1:] {
			copies = append(copies, at[i])
		}
		first, last := slices.MinFunc(copies, time.Time.Compare), slices.MaxFunc(copies, time.Time.Compare)
		sending, whole = append(sending, last.Sub(first)), append(whole, last.Sub(seen[0][i]))
	}
	slices.Sort(sending)
	slices.Sort(whole)

	var s endpoint.Stats
	total := func(name string) int64 {
		v, ok := s.Totals.Get(name)
		if !ok {
			t.Fatalf("dpifd stats has no %s", name)
		}
		return v
	}
	// The last copy is sent before the batch is counted.
	eventually(t, waitLimit, "all upcalls are counted", func() bool {
		s = ask[endpoint.Stats](t, n, "stats", n.dpName)
		return s.UpcallTimes.Count >= frames
	})
	elapsed := time.Since(started)
	var byTrace *tracedTimes
	if trace != nil {
		byTrace = trace.stop(t)
	}
	if upcalls := total("upcalls"); s.UpcallTimes.Count != uint64(upcalls) {
		t.Errorf("%d latencies of %d upcalls", s.UpcallTimes.Count, upcalls)
	}
	others := int(s.UpcallTimes.Count) - frames
	names := map[string]float64{"p50": 0.5, "p99": 0.99, "p999": 0.999, "max": 1}
	for name, q := range names {
		if byTrace != nil {
			byTrace.compare(t, name, q, s.UpcallTimes.Count, total("upcall_us_"+name))
		}
		said := time.Duration(total("upcall_us_"+name)) * time.Microsecond
		// The daemon also measured other packets, which may have the shortest latencies.
		rank := int(q*float64(s.UpcallTimes.Count)) - 1 - others
		if rank >= 0 && said < sending[rank] {
			t.Errorf("%s is %v, but sending alone took %v", name, said, sending[rank])
		}
		if said > elapsed+elapsed/16+time.Microsecond {
			t.Errorf("%s is %v, %v after the start", name, said, elapsed)
		}
	}
	t.Logf("daemon:                      p50 %dus, p99 %dus, p999 %dus, max %dus; mean %dus",
		total("upcall_us_p50"), total("upcall_us_p99"), total("upcall_us_p999"), total("upcall_us_max"),
		s.UpcallTimes.SumUS/int64(s.UpcallTimes.Count))
	t.Logf("handler threads waited for a CPU for %dus in all", total("handler_cpu_wait_us"))
	if byTrace != nil {
		t.Logf("trace, arrival or wake-up to answer: %v", byTrace.took)
		t.Logf("trace, arrival to answer:            %v", byTrace.queued)
	}
	t.Logf("capture, arrival to last copy: %v", whole)
	t.Logf("capture, first to last copy:   %v", sending)

	text := n.sw.Run(t, lab.DaemonPath(t), "metrics", n.dpName)
	want := fmt.Sprintf("dpifd_upcall_seconds_count{datapath=%q} %d\n", n.dpName, s.UpcallTimes.Count)
	if !strings.Contains(text, want) {
		t.Errorf("dpifd metrics lacks %s", want)
	}
	since := time.Now()
	signal(t, d, unix.SIGUSR1)
	state := d.Wait(t, since, "state_port", func(e lab.Event) bool { return e.Text("port") == n.hosts[0].port })
	stop(t, d)
	stats := d.Events("stats")
	if len(stats) == 0 {
		t.Fatal("no stats at the end")
	}
	last := stats[len(stats)-1]
	for name := range names {
		field := "upcall_us_" + name
		// All upcalls are from one port, so from one handler, and in the first interval.
		if want := total(field); state.Int(t, field) != want || last.Int(t, field) != want {
			t.Errorf("%s: %d in state_port, %d in stats, want %d", field, state.Int(t, field), last.Int(t, field), want)
		}
	}
}
