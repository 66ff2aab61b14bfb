//go:build lab

package kernel_test

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
	"dpifd/test/bench/load"
)

// inStages runs a test with flows in one and in two stages.
func inStages(t *testing.T, test func(t *testing.T, stages string)) {
	for _, stages := range []string{"one", "two"} {
		t.Run(stages, func(t *testing.T) { test(t, stages) })
	}
}

// crowd is a set of stations, many on each port of a network, that send short frames.
type crowd struct {
	p     []*lab.Packet
	frame []byte
}

func newCrowd(t *testing.T, n *network) *crowd {
	t.Helper()
	return &crowd{n.sockets(t), lab.Frame(t, "02:c0:00:00:00:00", "02:c0:00:00:00:00", 0x88b7, make([]byte, 46))}
}

// say sends a frame from one station to another.
func (c *crowd) say(t *testing.T, from, to int) {
	t.Helper()
	binary.BigEndian.PutUint32(c.frame[2:], uint32(to))
	binary.BigEndian.PutUint32(c.frame[8:], uint32(from))
	send(t, c.p[from%len(c.p)], c.frame)
}

// TestManyStations has 2,000 stations on four ports send to a hundred others each: in two stages
// 10,000 flows forward the packets of all 200,000 pairs.
func TestManyStations(t *testing.T) {
	t.Parallel()
	const stations, ports, pairs = 2000, 4, 200_000
	const want = stations + ports*stations
	n := newQuietNetwork(t, ports)
	// Flows installed during a dump count twice until the next one.
	d := n.run(t, settings{"flows": fmt.Sprintf("{stages: two, max_idle: 10m, limit: %d}", 2*want)})
	v := n.view(t)
	c := newCrowd(t, n)
	sent := v.info(t).Stats.Missed
	// A port's upcall queue holds some thousands.
	pause := func() {
		if sent++; sent%500 == 0 {
			v.comeUp(t, sent)
		}
	}
	for i := range stations {
		c.say(t, i, 0)
		pause()
	}
	eventually(t, waitLimit, "each station is known", func() bool { return v.info(t).Stats.Flows == stations+ports })
	for speaker := range ports {
		for to := range stations {
			if to != 0 {
				c.say(t, speaker, to)
				pause()
			}
		}
	}
	eventually(t, waitLimit, fmt.Sprintf("%d flows", want), func() bool { return v.info(t).Stats.Flows == want })
	before := v.info(t).Stats
	start := time.Now()
	for i := range pairs {
		from := i % stations
		c.say(t, from, (from+1+i/stations*19)%stations)
	}
	took := time.Since(start)
	v.hits(t, before.Hit+2*pairs)
	after := v.info(t).Stats
	t.Logf("%d upcalls until each station was known everywhere; then %d pairs in %v",
		before.Missed, pairs, took.Round(time.Millisecond))
	if after.Missed != before.Missed || after.Lost != 0 || after.Flows != want {
		t.Errorf("%d of %d packets caused upcalls, %d were lost, %d flows; want none, none, %d",
			after.Missed-before.Missed, pairs, after.Lost, after.Flows, want)
	}
	stop(t, d)
}

// hits waits until flows have matched count packets.
func (v view) hits(t *testing.T, count uint64) {
	t.Helper()
	eventually(t, waitLimit, fmt.Sprintf("%d hits", count), func() bool { return v.info(t).Stats.Hit >= count })
}

// TestMoveInTwoStages moves a MAC back and forth. When the packet that shows a move has arrived,
// the flows to the MAC already output to its new port, and its former port has no flow from it,
// without a dump.
func TestMoveInTwoStages(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 4)
	d := n.run(t, settings{"flows": "{stages: two, max_idle: 10m}"})
	v := n.view(t)
	p := n.sockets(t)
	const mac = "02:4d:02:33:e0:7a"
	peers := []string{"", "02:9b:02:33:e0:01", "02:9b:02:33:e0:02"}
	at := 0
	send(t, p[at], frame(t, broadcast, mac))
	for i, peer := range peers {
		if i == 0 {
			continue
		}
		f := frame(t, mac, peer)
		send(t, p[i], f)
		p[at].Expect(t, waitLimit, among(f))
	}
	toward := func() (list []string) {
		for f := range v.flows(t) {
			if strings.HasSuffix(f.eth, "dst="+mac) && !strings.Contains(f.eth, "src=") {
				list = append(list, f.actions)
			}
		}
		return list
	}
	eventually(t, waitLimit, "both flows to the MAC are there", func() bool { return len(toward()) == len(peers)-1 })
	var took latencies
	for move := range 20 {
		at = 3 - at
		hello := frame(t, broadcast, mac)
		watch := lab.StartStopwatch()
		send(t, p[at], hello)
		p[1].Expect(t, waitLimit, among(hello))
		took = append(took, watch.Elapsed())
		now, want := toward(), v.portNo(t, n.hosts[at].port).String()
		for _, actions := range now {
			if actions != want {
				t.Errorf("move %d: a flow to the MAC has actions %s, want %s", move, actions, want)
			}
		}
		if len(now) != len(peers)-1 {
			t.Errorf("move %d: %d flows to the MAC", move, len(now))
		}
		// The flow from the MAC is installed after its packet is forwarded. If the next move comes
		// first, the revalidator removes it.
		from := flow{v.portNo(t, n.hosts[at].port), "src=" + mac, "recirc(0x64706966)"}
		eventually(t, waitLimit, "the flow from the MAC is there", func() bool {
			_, is := v.flows(t)[from]
			return is
		})
	}
	slices.Sort(took)
	t.Logf("the packets that showed moves took %v", took)
	stop(t, d)
}

// TestStagesAuto brings the pairs of 40 stations near the flow limit: their VLAN changes to two
// stages, keeps them over a restart, and changes back when its stations have aged out.
func TestStagesAuto(t *testing.T) {
	t.Parallel()
	const stations, limit = 40, 1000
	n := newQuietNetwork(t, 3)
	auto := settings{"flows": fmt.Sprintf("{max_idle: 10m, limit: %d}", limit)}
	d := n.run(t, auto)
	v := n.view(t)
	c := newCrowd(t, n)
	all := func() {
		for i := range stations * stations {
			c.say(t, i%stations, i/stations)
		}
	}
	for i := range stations * stations * 2 / 5 {
		c.say(t, i%stations, i/stations)
	}
	e := d.Wait(t, time.Time{}, "flow_stages_changed", nil)
	if e.Text("vlan") != "0" || e.Text("from") != "one" || e.Text("to") != "two" || e.Int(t, "flows") < limit/2 {
		t.Errorf("flow_stages_changed: %v", e.Fields)
	}
	const most = stations + 4*stations
	eventually(t, waitLimit, "the flows of pairs are gone", func() bool { return v.info(t).Stats.Flows <= most })
	// Each station sends, and each receives from each port.
	eventually(t, waitLimit, "there are no upcalls", func() bool {
		before := v.info(t).Stats
		all()
		after := v.info(t).Stats
		return after.Missed == before.Missed && after.Hit-before.Hit == 2*stations*stations
	})
	if got := v.info(t).Stats.Flows; got > most {
		t.Errorf("%d flows of %d stations, want at most %d", got, stations, most)
	}
	// The next daemon adopts the flows and keeps the VLAN in two stages.
	stop(t, d)
	if got := d.Events("flow_limit_reached"); len(got) != 0 {
		t.Errorf("flow_limit_reached: %v", got[0].Fields)
	}
	d = n.run(t, auto)
	d.Wait(t, time.Time{}, "stats", func(e lab.Event) bool { return e.Text("revalidator_cycles") != "0" })
	before := v.info(t).Stats
	all()
	if after := v.info(t).Stats; after.Missed != before.Missed || after.Flows != before.Flows {
		t.Errorf("after a restart %d packets caused upcalls, and there are %d flows instead of %d",
			after.Missed-before.Missed, after.Flows, before.Flows)
	}

	since := time.Now()
	ask[endpoint.Flushed](t, n, "flush-macs", n.dpName)
	e = d.Wait(t, since, "flow_stages_changed", nil)
	if e.Text("from") != "two" || e.Text("to") != "one" {
		t.Errorf("flow_stages_changed: %v", e.Fields)
	}
	reload(t, d, n.config(settings{"flows": "{stages: two, max_idle: 10m}"}))
	eventually(t, waitLimit, "flows are in two stages", func() bool {
		c.say(t, 1, 2)
		for f := range v.flows(t) {
			if f.actions == "recirc(0x64706966)" {
				return true
			}
		}
		return false
	})
	stop(t, d)
}

// TestStagesChange sends between more and more pairs of 300 stations on four ports, until their VLAN changes to two
// stages. Then two ports are removed, with all stations but 24, and it changes back. No frame is lost.
func TestStagesChange(t *testing.T) {
	t.Parallel()
	const stations, stay, ports, limit, rate = 300, 24, 4, 10_000, 2000
	n := newQuietNetwork(t, ports)
	flows := settings{"flows": fmt.Sprintf("{limit: %d, max_idle: 10m, max_dump: 1m}", limit)}
	d := n.run(t, flows)
	v := n.view(t)
	c := newCrowd(t, n)
	home := func(station int) int {
		if station < stay {
			return station % 2
		}
		return 2 + station%2
	}
	crossing := func(stations int) (pairs [][2]int) {
		for step := 1; step < stations; step++ {
			for from := range stations {
				if to := (from + step) % stations; home(to) != home(from) {
					pairs = append(pairs, [2]int{from, to})
				}
			}
		}
		return pairs
	}
	for i := range stations {
		hello := frame(t, broadcast, fmt.Sprintf("02:c0:00:00:%02x:%02x", i>>8, i&0xff))
		send(t, c.p[home(i)], hello)
	}
	v.comeUp(t, stations)
	var arrived atomic.Int64
	at, received := make([]map[uint32]time.Time, ports), make([]func(), ports)
	for i, p := range c.p {
		at[i] = map[uint32]time.Time{}
		received[i] = lab.Go(t, func(ctx context.Context) {
			for ctx.Err() == nil {
				f, err := p.Receive(cycle)
				if err == nil && f[0] == 2 && home(int(binary.BigEndian.Uint32(f[2:]))) == i {
					at[i][binary.BigEndian.Uint32(f[14:])] = p.Arrived()
					arrived.Add(1)
				}
			}
		})
	}

	// Until the first change, every other frame is the first one of its pair.
	all, few := crossing(stations), crossing(stay)
	var sent []time.Time
	var change atomic.Int32
	grown := 1
	end := beside(t, load.Endless, rate, func(i int) error {
		pair := all[i/2%grown]
		switch change.Load() {
		case 0:
			if i%2 == 0 && grown < len(all) {
				pair = all[grown]
				grown++
			}
		case 2:
			pair = few[i%len(few)]
		}
		binary.BigEndian.PutUint32(c.frame[2:], uint32(pair[1]))
		binary.BigEndian.PutUint32(c.frame[8:], uint32(pair[0]))
		binary.BigEndian.PutUint32(c.frame[14:], uint32(i))
		sent = append(sent, time.Now())
		return c.p[home(pair[0])].Send(c.frame)
	})
	var changes []time.Time
	changed := func(to string, most uint64) {
		t.Helper()
		e := d.Wait(t, time.Time{}, "flow_stages_changed", func(e lab.Event) bool { return e.Text("to") == to })
		change.CompareAndSwap(0, 1)
		before := v.info(t).Stats
		last := before
		eventually(t, waitLimit, fmt.Sprintf("there are no upcalls and at most %d flows", most), func() bool {
			was := last.Missed
			time.Sleep(200 * time.Millisecond)
			last = v.info(t).Stats
			return last.Missed == was && last.Flows <= most
		})
		t.Logf("to %s: %d flows, then %d upcalls, then %d flows and no upcalls after %v", to, before.Flows,
			last.Missed-before.Missed, last.Flows, time.Since(e.Time).Round(time.Millisecond))
		changes = append(changes, e.Time)
	}
	changed("two", stations*(1+ports))
	change.Store(2)
	n.hosts = n.hosts[:2]
	reload(t, d, n.config(flows))
	changed("one", stay*stay)
	count := end()
	eventually(t, waitLimit, "all frames arrive", func() bool { return int(arrived.Load()) >= count })
	for _, end := range received {
		end()
	}
	got := map[uint32]time.Time{}
	for _, frames := range at {
		maps.Copy(got, frames)
	}
	for i, since := range changes {
		for from := since.Add(-time.Second); from.Before(since.Add(2 * time.Second)); from = from.Add(time.Second) {
			var took latencies
			for number, at := range got {
				if after := sent[number].Sub(from); after >= 0 && after < time.Second {
					took = append(took, at.Sub(sent[number]))
				}
			}
			slices.Sort(took)
			t.Logf("change %d, the second from %v: %d frames, %v", i+1, from.Sub(since), len(took), took)
		}
	}
	if lost := v.info(t).Stats.Lost; len(got) != count || lost != 0 {
		t.Errorf("%d of %d frames arrived, %d upcalls were lost", len(got), count, lost)
	}
	stop(t, d)
}
