//go:build lab

package kernel_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"dpifd/internal/lab"
)

// TestRandomSources: when a port shows a hundred thousand MACs, the flow table, the MAC table and
// the daemon's memory stay within their limits, and only MACs of that port are evicted.
func TestRandomSources(t *testing.T) {
	t.Parallel()
	const macs, flows, count = 600, 2500, 100_000
	const macA, macB = "02:aa:00:00:07:01", "02:bb:00:00:07:02"
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{
		"policy": fmt.Sprintf("{type: learning, mac_limit: %d}", macs),
		"flows":  fmt.Sprintf("{max_idle: 10s, limit: %d}", flows),
		"log":    "{stats_interval: 250ms}",
	})
	v := n.view(t)
	p := n.sockets(t)
	for i, mac := range map[int]string{1: macA, 2: macB} {
		hello := frame(t, broadcast, mac)
		send(t, p[i], hello)
		p[0].Expect(t, waitLimit, among(hello))
	}
	memory := rss(t, d.PID())

	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	f := lab.Frame(t, macA, "02:00:00:00:00:00", 0x88b7, make([]byte, 46))
	most := uint64(0)
	for sent, arrived := 0, 0; sent < count; {
		for range 250 {
			binary.BigEndian.PutUint32(f[8:], r.Uint32())
			f[7] = byte(r.Uint32())
			send(t, p[0], f)
			sent++
		}
		// Keep no more packets in flight than the port's queue holds, so that each source is
		// learned.
		for limit := time.Second; arrived < sent-1000; arrived++ {
			if _, err := p[1].Receive(limit); err != nil {
				t.Logf("%d of %d arrived", arrived, sent)
				arrived = sent
			}
		}
		most = max(most, v.info(t).Stats.Flows)
	}
	if most > flows {
		t.Errorf("the datapath had %d flows, at most %d are allowed", most, flows)
	}
	for _, e := range d.Events("stats") {
		if e.Int(t, "macs") > macs || e.Int(t, "flows") > flows {
			t.Errorf("stats: %s MACs and %s flows, at most %d and %d", e.Text("macs"), e.Text("flows"), macs, flows)
		}
	}
	now := rss(t, d.PID())
	e := d.Wait(t, time.Now(), "stats", nil)
	t.Logf("at most %d flows; memory %d KiB, before %d KiB; MACs learned %s, evicted %s", most, now>>10, memory>>10,
		e.Text("macs_learned"), e.Text("macs_evicted"))
	if now > memory+32<<20 {
		t.Errorf("memory grew from %d to %d KiB", memory>>10, now>>10)
	}
	if learned := e.Int(t, "macs_learned"); learned < count/2 {
		t.Errorf("%d of %d MACs were learned", learned, count)
	}

	said := int64(0)
	for _, e := range d.Events("macs_evicted") {
		if e.Text("port") != n.hosts[0].port || e.Int(t, "limit") != macs {
			t.Errorf("macs_evicted: %v, want port %s", e.Fields, n.hosts[0].port)
		}
		said += e.Int(t, "evicted")
	}
	d.Wait(t, time.Time{}, "flow_limit_reached", nil)
	// The MACs of other ports are still known: frames between them reach no third port.
	known := frame(t, macB, macA)
	p[0].Count(t, func([]byte) bool { return false })
	send(t, p[1], known)
	p[2].Expect(t, waitLimit, among(known))
	after := frame(t, broadcast, macA)
	send(t, p[1], after)
	p[0].Expect(t, waitLimit, func(f []byte) bool {
		if among(known)(f) {
			t.Error("a MAC of another port was evicted")
		}
		return among(after)(f)
	})
	stop(t, d)
	v.explained(t, d)
	all := d.Events("stats")
	if last := all[len(all)-1].Int(t, "macs_evicted"); said == 0 || said > last {
		t.Errorf("macs_evicted events say %d, stats %d", said, last)
	}
}

// TestFlowLimitAdapts: the limit grows while dumps are fast, and a reload may set it below the
// number of flows; the log gives the cause of both changes.
func TestFlowLimitAdapts(t *testing.T) {
	const sink = "02:51:4c:00:08:01"
	const count, low = 14_000, 1500
	n := newQuietNetwork(t, 2)
	with := func(limit int) settings {
		return settings{"policy": "{type: learning, mac_limit: 30000}",
			"flows": fmt.Sprintf("{max_idle: 120s, limit: %d}", limit)}
	}
	d := n.run(t, with(40_000))
	v := n.view(t)
	p := n.sockets(t)
	hello := frame(t, broadcast, sink)
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	paced(t, p[0], sink, count, 1500)
	grown := d.Wait(t, time.Time{}, "flow_limit_changed", nil)
	if grown.Text("from") != "10000" || grown.Int(t, "to") <= 10_000 || grown.Text("cause") != "dump_under_1s" {
		t.Errorf("flow_limit_changed: %v, want growth from 10000, cause dump_under_1s", grown.Fields)
	}
	there := v.info(t).Stats.Flows
	if there < 2*low {
		t.Fatalf("%d flows, want more than twice %d", there, low)
	}
	since := reload(t, d, n.config(with(low)))
	e := d.Wait(t, since, "flow_limit_changed", func(e lab.Event) bool { return e.Text("cause") == "configured" })
	if e.Int(t, "to") != low {
		t.Errorf("flow_limit_changed: %v, want to %d", e.Fields, low)
	}
	// There are more than twice as many flows as the limit: the excess is deleted at once, although
	// none is idle.
	eventually(t, waitLimit, "the flows above the limit are gone", func() bool { return v.info(t).Stats.Flows <= low })
	t.Logf("limit grew to %s; %d flows, then %d", grown.Text("to"), there, v.info(t).Stats.Flows)
	exchange(t, p[0], p[1])
	stop(t, d)
	v.explained(t, d)
}
