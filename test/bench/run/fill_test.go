package main

import (
	"testing"
	"time"
)

// fakeTable is a switch that installs a flow for each station, up to a limit that grows over time.
type fakeTable struct {
	has         map[int]bool
	limit, grow int // limit, and its growth per query
	wipe        int // number of flows at which it deletes all, 0 for never
	sends       int
}

func (t *fakeTable) filler() *filler {
	return &filler{
		send: func(from, to int) error {
			t.sends++
			for i := from; i < to; i++ {
				if len(t.has) < t.limit {
					t.has[i] = true
				}
			}
			if t.wipe > 0 && len(t.has) >= t.wipe {
				clear(t.has)
			}
			return nil
		},
		flows: func() (int, error) { t.limit += t.grow; return len(t.has), nil },
		sleep: func(time.Duration) {},
	}
}

func TestFill(t *testing.T) {
	for _, c := range []struct {
		name               string
		table              fakeTable
		target, want, next int
		sends              int // maximum
	}{
		{"a table with room", fakeTable{limit: 10_000}, 1200, 1200, 1200, 3},
		{"a limit that grows", fakeTable{limit: 1000, grow: 5}, 3000, 3000, 3000, 20},
		{"a limit that stays", fakeTable{limit: 700}, 1200, 700, 500, 2 + fillRetries},
		{"a table that is emptied", fakeTable{limit: 10_000, wipe: 1500}, 2000, 0, 1000, 3},
		{"nothing to do", fakeTable{}, 0, 0, 0, 0},
	} {
		c.table.has = map[int]bool{}
		f := c.table.filler()
		held, err := f.to(c.target)
		if err != nil || held != c.want || f.next != c.next || c.table.sends > c.sends {
			t.Errorf("%s: %d flows, %d stations, %d sends, %v; want %d, %d, at most %d", c.name, held, f.next, c.table.sends,
				err, c.want, c.next, c.sends)
		}
	}
}

func TestDumpDuration(t *testing.T) {
	const shown = "system@ovs-system:\n  flows         : (current 100004) (avg 90000) (max 100004) (limit 250000)\n" +
		"  dump duration : 412ms\n  ufid enabled : true\n\n  1: (keys 50000)\n"
	if s, err := dumpDuration(shown); err != nil || s != 0.412 {
		t.Errorf("%v, %v", s, err)
	}
	for _, text := range []string{"", "  dump duration : ms\n", "  dump duration : 412 ms\n"} {
		if _, err := dumpDuration(text); err == nil {
			t.Errorf("%q has a duration", text)
		}
	}
}
