//go:build lab && systemd

package systemd_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"runtime"
	"testing"
	"time"

	"dpifd/internal/lab"
	"dpifd/test/bench"
	"dpifd/test/bench/load"

	"golang.org/x/sys/unix"
)

// latencies are how long packets took from one host to the other, ascending.
type latencies []time.Duration

func (l latencies) String() string {
	at := func(p int) time.Duration { return bench.Percentile(l, p).Round(10 * time.Microsecond) }
	return fmt.Sprintf("%d packets, p50 %v, p99 %v", len(l), at(50), at(99))
}

// firstPackets sends packets at 20 a second, each the first of a new flow, and waits
// until all have arrived.
func (s *service) firstPackets(t *testing.T, count int) latencies {
	t.Helper()
	sockets := make([]*load.Socket, 2)
	for i := range sockets {
		err := s.hosts[i].Do(func() (err error) {
			sockets[i], err = load.Open("eth0")
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		defer sockets[i].Close()
	}
	frames := make([][]byte, count)
	for i := range frames {
		frames[i] = load.Frame(load.Sink, uint32(s.sent), 200)
		s.sent++
	}
	if _, err := load.Paced([]load.Source{sockets[0].Source}, frames, 20); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "all packets arrive", func() bool { return s.arrived.Count() == s.sent })
	a, err := sockets[1].Receive(s.sent, func() (bool, error) { return true, nil })
	if err != nil {
		t.Fatal(err)
	}
	return a.Latency
}

// flood has a host send new flows to the first one as fast as it can, from CPU 0.
func (s *service) flood(t *testing.T, host *lab.NetNS) (end func()) {
	t.Helper()
	const sink = "02:51:4c:00:00:77"
	hello := lab.Frame(t, "ff:ff:ff:ff:ff:ff", sink, 0x88b7, make([]byte, 46))
	missed := s.stats(t).Missed
	if err := s.from.Send(hello); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the hello is forwarded", func() bool { return s.stats(t).Missed > missed })
	p, f := host.OpenPacket(t, "eth0"), lab.Frame(t, sink, "02:f1:00:00:00:00", 0x88b7, make([]byte, 46))
	return lab.Go(t, func(ctx context.Context) {
		runtime.LockOSThread() // and never unlock: the thread ends
		if err := unix.SchedSetaffinity(0, &unix.CPUSet{1}); err != nil {
			t.Error(err)
		}
		_, err := load.Pace(ctx, load.Endless, 0, func(i int) error {
			binary.BigEndian.PutUint32(f[8:], uint32(i))
			return p.Send(f)
		})
		if err != nil {
			t.Error(err)
		}
	})
}
