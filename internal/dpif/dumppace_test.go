package dpif

import (
	"testing"
	"time"
)

func TestDumpPace(t *testing.T) {
	const start, most = 1_000_000, 20_000
	for _, tt := range []struct {
		name         string
		used         []int64 // by the flows of the dump, before start
		after        int64   // ms since the dump
		maxIdle      time.Duration
		flows, limit int
		want         bool
	}{
		{"nothing there", nil, 500, 10 * time.Second, 0, 10_000, false},
		{"flows in use", []int64{3, 0, 8}, 500, 10 * time.Second, 3, 10_000, false},
		{"one is about to be idle", []int64{3, 9_400, 8}, 500, 10 * time.Second, 3, 10_000, false},
		{"one may be idle", []int64{3, 9_500, 8}, 500, 10 * time.Second, 3, 10_000, true},
		{"a long pause", []int64{3}, 2_499, 10 * time.Second, 1, 10_000, false},
		{"too long a pause", []int64{3}, 2_500, 10 * time.Second, 1, 10_000, true},
		{"short-lived flows", []int64{0}, 500, 2 * time.Second, 1, 10_000, true},
		{"far from the limit", []int64{0}, 500, 10 * time.Second, 4_999, 10_000, false},
		{"near the limit", []int64{0}, 500, 10 * time.Second, 5_000, 10_000, true},
		{"near a limit that cannot grow", []int64{0}, 500, 10 * time.Second, 19_999, most, false},
		{"at a limit that cannot grow", []int64{0}, 500, 10 * time.Second, 20_000, most, true},
	} {
		var p dumpPace
		p.begin(start)
		for _, used := range tt.used {
			p.saw(start - used)
		}
		if got := p.due(start+tt.after, tt.maxIdle, tt.flows, tt.limit, most); got != tt.want {
			t.Errorf("%s: due %v", tt.name, got)
		}
	}
}
