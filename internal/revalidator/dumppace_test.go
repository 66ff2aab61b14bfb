package revalidator

import (
	"testing"
	"time"
)

func TestDumpPace(t *testing.T) {
	const start, most = 1_000_000, 20_000
	for _, tt := range []struct {
		name         string
		used         []int64 // last uses of the dumped flows, before start
		after        int64   // ms since the dump
		maxIdle      time.Duration
		guessed      bool
		flows, limit int
		want         bool
	}{
		{"no flows", nil, 500, 10 * time.Second, false, 0, 10_000, false},
		{"flows in use", []int64{3, 0, 8}, 500, 10 * time.Second, false, 3, 10_000, false},
		{"one is about to be idle", []int64{3, 9_400, 8}, 500, 10 * time.Second, false, 3, 10_000, false},
		{"one may be idle", []int64{3, 9_500, 8}, 500, 10 * time.Second, false, 3, 10_000, true},
		{"a long pause", []int64{3}, 2_499, 10 * time.Second, false, 1, 10_000, false},
		{"a longer one", []int64{3}, 9_996, 10 * time.Second, false, 1, 10_000, false},
		{"creation time unknown", []int64{3}, 2_499, 10 * time.Second, true, 1, 10_000, false},
		{"creation time unknown, longer pause", []int64{3}, 2_500, 10 * time.Second, true, 1, 10_000, true},
		{"short-lived flows", []int64{0}, 2_000, 2 * time.Second, false, 1, 10_000, true},
		{"few more than in the last dump", []int64{0}, 500, 10 * time.Second, false, 999, 10_000, false},
		{"many more than in the last dump", []int64{0}, 500, 10 * time.Second, false, 1_000, 10_000, true},
		{"far from the limit", make([]int64, 1_000), 500, 10 * time.Second, false, 4_999, 10_000, false},
		{"near the limit", make([]int64, 1_000), 500, 10 * time.Second, false, 5_000, 10_000, true},
		{"near a limit that cannot grow", []int64{0}, 500, 10 * time.Second, false, 19_999, most, false},
		{"at a limit that cannot grow", []int64{0}, 500, 10 * time.Second, false, 20_000, most, true},
	} {
		var p dumpPace
		p.begin(start)
		for _, used := range tt.used {
			p.saw(start - used)
		}
		if tt.guessed {
			p.guess()
		}
		if got := p.due(start+tt.after, tt.maxIdle, tt.flows, tt.limit, most); got != tt.want {
			t.Errorf("%s: due %v", tt.name, got)
		}
	}
}

// TestFullPace: however often full dumps are requested, their share of the time is limited.
func TestFullPace(t *testing.T) {
	var p fullPace
	start := time.Unix(1000, 0)
	if !p.allows(start, lazyShare) {
		t.Error("the first one is not allowed")
	}
	for _, share := range []int{urgentShare, lazyShare} {
		spent := time.Duration(0)
		for at := time.Duration(0); at < time.Hour; at += 500 * time.Millisecond {
			if now := start.Add(at); p.allows(now, share) {
				p.took(now, now.Add(300*time.Millisecond))
				spent += 300 * time.Millisecond
			}
		}
		if got := time.Hour / spent; got < time.Duration(share) || got > time.Duration(share)*2 {
			t.Errorf("full dumps take a %dth of the time, want a %dth", got, share)
		}
		start = start.Add(2 * time.Hour)
	}
}
