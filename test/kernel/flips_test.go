//go:build lab

package kernel_test

import (
	"context"
	"encoding/binary"
	"slices"
	"sort"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// flip is a notified change of the datapath's user features.
type flip struct {
	at       time.Time // when the test saw it
	features dpif.Features
}

// watchFeatures records changes of user features in a namespace until end is called, which returns
// them.
func watchFeatures(t *testing.T, ns *lab.NetNS) (end func() []flip) {
	t.Helper()
	_, fam := dial(t, ns)
	var r *netlink.Receiver
	err := ns.Do(func() (err error) {
		r, err = netlink.OpenNotifier(unix.NETLINK_GENERIC, []uint32{fam.Datapath.Groups["ovs_datapath"]},
			netlink.ReceiverConfig{RcvBuf: 1 << 20})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	b, err := netlink.NewBatch(64)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	var seen []flip
	stop := lab.Go(t, func(ctx context.Context) {
		for ctx.Err() == nil {
			fds := []unix.PollFd{{Fd: int32(r.FD()), Events: unix.POLLIN}}
			_, _ = unix.Poll(fds, 50)
			now := time.Now()
			n, err := r.Receive(b, 64)
			if err != nil {
				t.Errorf("notifications of the test's own: %v", err)
			}
			for i := range n {
				// struct nlmsghdr, genlmsghdr and ovs_header, then
				// OVS_DP_ATTR_USER_FEATURES, 5.
				it := netlink.NewAttrs(b.Data(i)[24:])
				for it.Next() {
					if it.Type() == 5 && len(it.Data()) == 4 {
						seen = append(seen, flip{now, dpif.Features(binary.NativeEndian.Uint32(it.Data()))})
					}
				}
			}
			b.Release()
		}
	})
	return func() []flip {
		stop()
		return seen
	}
}

// TestHundredFlips runs ovs-dpctl a hundred times under traffic. The daemon undoes and counts each
// change. The test logs the delay (the goal is 100 ms, but emulated CPUs may stall) and the packets
// lost meanwhile.
func TestHundredFlips(t *testing.T) {
	t.Parallel()
	const runs, rate, limit = 100, 200, 100 * time.Millisecond
	const sink = "02:51:4c:00:09:01"
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"policy": "{type: learning, mac_limit: 60000}", "flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	hello := frame(t, broadcast, sink)
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	kept := d.Events("features_set")[0].Text("kept")

	after := needFlip(t, v.info(t).Features).String()
	flips := watchFeatures(t, n.sw)
	arrived := lab.Collect(t, p[1])
	over := steadyLoad(t, sink, rate, p[0]) // new flows, until the last run is over
	start := time.Now()
	for range runs {
		n.sw.DPCtl(t, "show", n.dpName)
		// Two changes in a row would be undone as one, so wait.
		eventually(t, waitLimit, "the features are restored", func() bool { return v.info(t).Features.String() == kept })
	}
	took := time.Since(start)
	count := over()
	eventually(t, waitLimit, "each packet arrives or is counted as lost", func() bool {
		return arrived.Count()+int(v.info(t).Stats.Lost) >= count
	})
	got := arrived.Count()
	// Packets sent from here on arrive.
	exchange(t, p[0], n.hosts[1].OpenPacket(t, "eth0"))
	seen := flips()
	stop(t, d)
	v.explained(t, d)

	// Measure from the notification of a change to that of its restore, and to the event in the
	// log.
	events := d.Events("features_restored")
	var undone []time.Duration
	for i, f := range seen {
		if f.features.String() == kept {
			continue
		}
		if i+1 < len(seen) && seen[i+1].features.String() == kept {
			undone = append(undone, seen[i+1].at.Sub(f.at))
		}
	}
	all := d.Events("stats")
	counted := all[len(all)-1].Int(t, "features_restored")
	if len(undone) < runs || counted < runs || len(events) == 0 {
		t.Fatalf("%d changes undone, %d counted, %d events, want %d at least and an event", len(undone), counted,
			len(events), runs)
	}
	slices.Sort(undone)
	lost := v.info(t).Stats.Lost
	late := len(undone) - sort.Search(len(undone), func(i int) bool { return undone[i] > limit })
	t.Logf("%d runs in %v: undone after p50 %v, max %v, %d times after more than %v", runs, took.Round(time.Second),
		undone[len(undone)/2], undone[len(undone)-1], late, limit)
	t.Logf("%d packets sent, %d arrived, %d lost without a listener", count, got, lost)
	if count-got != int(lost) {
		t.Errorf("%d of %d packets arrived, the kernel lost %d", got, count, lost)
	}
	if n := loggedLosses(t, d)["no_listener"]; perCPU && n != 0 {
		// The new features keep the table of sockets in force.
		t.Errorf("%d packets had no listener", n)
	}
	told := int64(0)
	for _, e := range events {
		told += 1 + e.Int(t, "held_back")
		if e.Text("found") != after || e.Text("kept") != kept {
			t.Errorf("features_restored: %v, want found %s, kept %s", e.Fields, after, kept)
		}
	}
	// Changes since the last event are not logged yet.
	if told > counted {
		t.Errorf("stats count %d changes restored, the log %d", counted, told)
	}
}
