package forward

import (
	"slices"
	"testing"

	"dpifd/internal/odp"
)

// flapSwitch is a learning switch with four ports that counts calls of Flapping.
func flapSwitch(t *testing.T) (l *Learning, found *int) {
	found = new(int)
	l = learningWith(t, Config{Flapping: func() { *found++ }}, 1, 2, 3, 4)
	return l, found
}

func TestFlapping(t *testing.T) {
	type at struct {
		port odp.PortNo
		ms   int64
	}
	for _, c := range []struct {
		name  string
		seen  []at
		moves uint64 // 0 for not reported
		ports []odp.PortNo
		over  int64
	}{
		{"one move", []at{{1, 1000}, {2, 1001}}, 0, nil, 0},
		{"over and back", []at{{1, 1000}, {2, 1001}, {1, 1002}}, 0, nil, 0},
		{"back and forth", []at{{1, 1000}, {2, 1001}, {1, 1002}, {2, 1300}}, 3, []odp.PortNo{1, 2}, 299},
		{"into a loop", []at{{1, 1000}, {2, 1001}, {3, 1001}, {2, 1500}}, 3, []odp.PortNo{1, 2, 3}, 499},
		{"from port to port", []at{{1, 1000}, {2, 1001}, {3, 1002}, {4, 1003}}, 0, nil, 0},
		{"slowly", []at{{1, 1000}, {2, 7000}, {1, 13000}, {2, 19000}, {1, 25000}}, 0, nil, 0},
		{"again after a while", []at{{1, 1000}, {2, 1001}, {1, 1002}, {2, 20000}, {1, 20001}, {2, 20002}}, 3, []odp.PortNo{1, 2}, 2},
	} {
		l, found := flapSwitch(t)
		for _, s := range c.seen {
			decide(l, key(s.port, host(1), broadcast), s.ms)
		}
		list, others := l.TakeFlapping(30000, 9)
		if others != 0 || (*found > 0) != (c.moves > 0) || (len(list) > 0) != (c.moves > 0) {
			t.Errorf("%s: %v, %d others, reported %d times", c.name, list, others, *found)
			continue
		}
		if c.moves > 0 && (list[0].MAC != host(1) || list[0].Moves != c.moves || !slices.Equal(list[0].Ports, c.ports) ||
			list[0].OverMS != c.over) {
			t.Errorf("%s: %+v", c.name, list[0])
		}
	}
}

// TestFlappingReportedOnce: a MAC that keeps flapping is reported again after flapWindow, with all
// moves since.
func TestFlappingReportedOnce(t *testing.T) {
	l, _ := flapSwitch(t)
	moves, reported := 0, []uint64(nil)
	for ms := int64(1000); ms < 1000+3*flapWindow; ms += 100 {
		decide(l, key(1+odp.PortNo(moves%2), host(1), broadcast), ms)
		moves++
		if list, _ := l.TakeFlapping(ms, 1); len(list) > 0 {
			reported = append(reported, list[0].Moves)
		}
	}
	if want := []uint64{3, 100, 100}; !slices.Equal(reported, want) {
		t.Errorf("reported %v moves, want %v", reported, want)
	}
}

// TestManyFlap: if more MACs flap than can be tracked, some are reported, and the others are
// counted as far as they are known.
func TestManyFlap(t *testing.T) {
	l, found := flapSwitch(t)
	for round := range 5 {
		for n := range 100 {
			decide(l, key(1+odp.PortNo(round%2), host(n), broadcast), int64(1000+round*100+n))
		}
	}
	list, others := l.TakeFlapping(2000, 4)
	if len(list) != 4 || others < flapSlots-5 || *found == 0 {
		t.Errorf("%d reported and %d others, want 4 and about %d", len(list), others, flapSlots-4)
	}
	if again, left := l.TakeFlapping(2001, 100); len(again) != others || left != 0 {
		t.Errorf("%d reported later, %d others; want %d", len(again), left, others)
	}
}

// TestFlappingAllocs: a move allocates nothing.
func TestFlappingAllocs(t *testing.T) {
	l, _ := flapSwitch(t)
	ms := int64(1000)
	if n := testing.AllocsPerRun(1000, func() {
		ms++
		l.table.learn(l.macKey(0, host(int(ms)%40)), 1+odp.PortNo(ms/40%2), ms, true)
	}); n != 0 {
		t.Errorf("a move allocates %v times", n)
	}
}
