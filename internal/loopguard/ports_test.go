package loopguard

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// recordEvents returns a sink that records events in short form.
func recordEvents(list *[]string) event.Sink {
	return func(e event.Event) {
		switch e := e.(type) {
		case LoopDetected:
			*list = append(*list, fmt.Sprintf("%s>%s", e.Port, e.Back))
		case PortBlocked:
			*list = append(*list, fmt.Sprintf("%s blocked %v", e.Port, e.For))
		case PortUnblocked:
			*list = append(*list, e.Port+" open")
		}
	}
}

func TestWhichPortIsBlocked(t *testing.T) {
	for _, c := range []struct {
		from, in   Mode
		fromMS, ms int64
		want       string
	}{
		{Block, Block, 0, 0, "b blocked 10s"}, {Block, Block, 5, 4, "a blocked 10s"}, {Block, Block, 4, 5, "b blocked 10s"},
		{Block, Log, 0, 9, "a blocked 10s"}, {Block, Off, 0, 9, "a blocked 10s"}, {Log, Block, 9, 0, "b blocked 10s"},
		{Log, Log, 0, 0, ""}, {Log, Off, 0, 0, ""}, {Off, Block, 0, 0, "none"},
	} {
		var list []string
		p := NewPorts(recordEvents(&list))
		p.Set([]Port{{No: 1, Name: "a", Mode: c.from, SinceMS: c.fromMS}, {No: 2, Name: "b", Mode: c.in, SinceMS: c.ms}})
		changed := p.Saw(Sighting{From: 1, In: 2}, time.Hour)
		want := []string{"a>b", c.want}
		switch c.want {
		case "":
			want = want[:1]
		case "none":
			want = nil
		}
		if !slices.Equal(list, want) || changed != (len(want) == 2) || len(p.Blocked()) != max(0, len(want)-1) {
			t.Errorf("%v %v: %q, want %q", c.from, c.in, list, want)
		}
	}
	var list []string
	p := NewPorts(recordEvents(&list))
	p.Set([]Port{{No: 1, Name: "a", Mode: Block}})
	p.Saw(Sighting{From: 1, In: 1}, 0)
	p.Saw(Sighting{From: 1, In: 9}, 0) // blocked already
	p.Saw(Sighting{From: 9, In: 1}, 0)
	if want := []string{"a>a", "a blocked 10s"}; !slices.Equal(list, want) {
		t.Errorf("%q, want %q", list, want)
	}
}

// TestDoubling: the time doubles while the loop exists, and starts again after a quiet time.
func TestDoubling(t *testing.T) {
	var list []string
	p := NewPorts(recordEvents(&list))
	ports := []Port{{No: 1, Name: "a", Mode: Block}, {No: 2, Name: "b", Mode: Block}}
	p.Set(ports)
	now := time.Hour
	closedFor := func() (d time.Duration) {
		t.Helper()
		if !p.Saw(Sighting{From: 1, In: 2}, now) {
			t.Fatal("not blocked")
		}
		for began := now; !p.Expire(now); now += time.Second {
			d = now + time.Second - began
		}
		return d
	}
	var got []time.Duration
	for range 8 {
		got = append(got, closedFor())
		now += Interval
		p.Expire(now)
	}
	now += maxBlock + time.Minute
	p.Expire(now)
	got = append(got, closedFor())
	s := time.Second
	want := []time.Duration{10 * s, 20 * s, 40 * s, 80 * s, 160 * s, 320 * s, 600 * s, 600 * s, 10 * s}
	if !slices.Equal(got, want) {
		t.Errorf("blocked for %v, want %v", got, want)
	}
}

// TestLoggedOncePerPair: a permanent loop is logged every reportPause.
func TestLoggedOncePerPair(t *testing.T) {
	var list []string
	p := NewPorts(recordEvents(&list))
	p.Set([]Port{{No: 1, Name: "a", Mode: Log}, {No: 2, Name: "b", Mode: Log}})
	for now := time.Duration(0); now < 30*time.Second; now += Interval {
		p.Saw(Sighting{From: 1, In: 2}, now)
		p.Saw(Sighting{From: 2, In: 1}, now)
	}
	if len(list) != 6 {
		t.Errorf("logged %q", list)
	}
}

// TestSet checks blocked ports after changes of the ports.
func TestSet(t *testing.T) {
	b := Port{No: 2, Name: "b", Mode: Block, SinceMS: 7}
	for _, c := range []struct {
		name    string
		set     []Port
		blocked bool
		changed bool
		says    int
	}{
		{"the same", []Port{b}, true, false, 0},
		{"it is to log", []Port{{No: 2, Name: "b", Mode: Log, SinceMS: 7}}, false, true, 1},
		{"it was removed", nil, false, true, 0},
		{"another device", []Port{{No: 2, Name: "c", Mode: Block, SinceMS: 7}}, false, true, 0},
		{"another port", []Port{{No: 2, Name: "b", Mode: Block, SinceMS: 9}}, false, true, 0},
	} {
		var list []string
		p := NewPorts(recordEvents(&list))
		p.Set([]Port{b})
		p.Saw(Sighting{From: 2, In: 2}, 0)
		list = nil
		if changed := p.Set(c.set); changed != c.changed || p.Blocked()[2] != c.blocked || len(list) != c.says {
			t.Errorf("%s: changed %v, blocked %v, %q", c.name, changed, p.Blocked(), list)
		}
	}
}

// TestRounds: each port is probed in its VLANs, in several rounds if there are many.
func TestRounds(t *testing.T) {
	p := NewPorts(func(event.Event) {})
	var many []uint16
	for vlan := range uint16(20) {
		many = append(many, vlan+100)
	}
	if p.Guards() {
		t.Error("no ports guard")
	}
	p.Set([]Port{{No: 1, Mode: Log, VLANs: []uint16{0}}, {No: 2, Mode: Off, VLANs: []uint16{0}},
		{No: 3, Mode: Block, VLANs: many}})
	if !p.Guards() {
		t.Error("ports do not guard")
	}
	count := map[odp.PortNo]map[uint16]int{1: {}, 2: {}, 3: {}}
	for range 5 {
		n := 0
		p.Probe(func(no odp.PortNo, vlan uint16) { count[no][vlan]++; n++ })
		if n != 1+vlansPerRound {
			t.Errorf("%d probes in a round", n)
		}
	}
	if count[1][0] != 5 || len(count[2]) != 0 || len(count[3]) != 20 {
		t.Errorf("%v", count)
	}
	for vlan, n := range count[3] {
		if n != 2 {
			t.Errorf("VLAN %d: %d probes", vlan, n)
		}
	}
	p.Saw(Sighting{From: 3, In: 3}, 0)
	p.Probe(func(no odp.PortNo, _ uint16) {
		if no == 3 {
			t.Error("a blocked port is probed")
		}
	})
}
