package revalidator

import (
	"testing"
	"time"
)

func TestFlowLimitAdapts(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		name         string
		cap, current int
		flows        int
		took         time.Duration
		want         int
		cause        string
	}{
		{"few flows, fast", 200_000, 10_000, 30, 4 * ms, 10_000, ""},
		{"many flows, fast", 200_000, 10_000, 9_000, 250 * ms, 36_000, causeDumpFast},
		{"many flows, very fast", 200_000, 10_000, 9_000, 20 * ms, 160_000, causeDumpFast},
		{"many flows, fast enough for some more", 200_000, 10_000, 9_000, 600 * ms, 15_000, causeDumpFast},
		{"many flows, fast enough for a few more", 200_000, 10_000, 9_000, 890 * ms, 11_000, causeDumpFast},
		{"no flows", 200_000, 10_000, 0, 0, 10_000, ""},
		{"at the cap", 11_500, 11_000, 10_900, 100 * ms, 11_500, causeDumpFast},
		{"cap stays", 11_500, 11_500, 11_500, 100 * ms, 11_500, ""},
		{"just fast enough", 200_000, 50_000, 50_000, 1300 * ms, 50_000, ""},
		{"slow", 200_000, 50_000, 50_000, 1301 * ms, 37_500, causeDumpSlow},
		{"very slow", 200_000, 50_000, 50_000, 4_900 * ms, 12_500, causeDumpVerySlow},
		{"floor", 200_000, 2_000, 60_000, 9_000 * ms, 1_000, causeDumpVerySlow},
		{"cap below the floor", 300, 300, 300, 9_000 * ms, 300, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := flowLimit{cap: tc.cap, current: tc.current}
			if cause := l.adapt(tc.flows, tc.took, time.Second); cause != tc.cause || l.current != tc.want {
				t.Errorf("limit %d, cause %q; want %d, %q", l.current, cause, tc.want, tc.cause)
			}
		})
	}
	// In proportion to another maximum duration of a dump.
	l := flowLimit{cap: 200_000, current: 100_000}
	if cause := l.adapt(100_000, 4*time.Second, 5*time.Second); cause != causeDumpFast || l.current != 125_000 {
		t.Errorf("4 s of 5 s: limit %d, cause %q", l.current, cause)
	}
	if cause := l.adapt(125_000, 300*ms, 200*ms); cause != causeDumpSlow || l.current != 93_750 {
		t.Errorf("300 ms of 200 ms: limit %d, cause %q", l.current, cause)
	}
	if l := newFlowLimit(200_000); l.current != initialFlowLimit {
		t.Errorf("the limit starts at %d", l.current)
	}
	if l := newFlowLimit(5_000); l.current != 5_000 {
		t.Errorf("with a cap of 5000 the limit starts at %d", l.current)
	}
}

// TestFlowLimitAdopts: flows found at start are not deleted because they exceed the initial limit.
func TestFlowLimitAdopts(t *testing.T) {
	for _, tc := range []struct{ cap, flows, want int }{
		{200_000, 0, 10_000}, {200_000, 9_500, 10_500}, {200_000, 60_000, 61_000}, {50_000, 60_000, 50_000}, {300, 10, 300},
	} {
		l := newFlowLimit(tc.cap)
		if l.adopt(tc.flows); l.current != tc.want {
			t.Errorf("cap %d, %d flows found: limit %d, want %d", tc.cap, tc.flows, l.current, tc.want)
		}
	}
}

func TestFlowLimitIdle(t *testing.T) {
	l := flowLimit{cap: 50_000, current: 10_000}
	for flows, want := range map[int]time.Duration{
		0: 10 * time.Second, 10_000: 10 * time.Second, 10_001: crowdedIdle, 20_000: crowdedIdle, 20_001: 0,
	} {
		if got := l.idle(flows, 10*time.Second); got != want {
			t.Errorf("%d flows: idle %v, want %v", flows, got, want)
		}
	}
	if got := l.idle(15_000, 50*time.Millisecond); got != 50*time.Millisecond {
		t.Errorf("max_idle below crowdedIdle became %v", got)
	}
}

// TestFlowLimitReports covers growth, a cut, and a stable limit.
func TestFlowLimitReports(t *testing.T) {
	l := flowLimit{cap: 200_000, current: 10_000}
	now := time.Unix(1000, 0)
	var got []FlowLimitChanged
	step := func(flows int, took time.Duration) {
		before := l.current
		cause := l.adapt(flows, took, time.Second)
		if e, due := l.report(before, cause, now); due {
			got = append(got, e)
		}
		now = now.Add(500 * time.Millisecond)
	}
	for range 25 { // 12.5 s of growth
		step(l.current*85/100, 840*time.Millisecond)
	}
	for range 3 { // stable
		step(1_000, 100*time.Millisecond)
	}
	step(100_000, 5*time.Second)
	step(1_000, 100*time.Millisecond)
	want := []FlowLimitChanged{
		{From: 10_000, To: 11_000, Cause: causeDumpFast},
		{From: 11_000, To: 31_000, Cause: causeDumpFast},
		{From: 31_000, To: 35_000, Cause: causeDumpFast},
		{From: 35_000, To: 7_000, Cause: causeDumpVerySlow},
	}
	if len(got) != len(want) {
		t.Fatalf("reports %+v, want %+v", got, want)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("report %d: %+v, want %+v", i, got[i], want[i])
		}
	}
}

func TestFlowLimitConfigured(t *testing.T) {
	l := flowLimit{cap: 200_000, current: 10_000}
	now := time.Unix(1000, 0)
	for i, step := range []struct {
		cap  int
		want FlowLimitChanged // zero: nothing to report
	}{
		{200_000, FlowLimitChanged{}},
		{10_000, FlowLimitChanged{}},
		{700, FlowLimitChanged{From: 10_000, To: 700, Cause: causeConfigured}},
		{700, FlowLimitChanged{}},
		{5_000, FlowLimitChanged{}},
	} {
		got, due := l.setCap(step.cap, now)
		if got != step.want || due != (step.want != FlowLimitChanged{}) || l.cap != step.cap {
			t.Errorf("step %d: %+v, %v; want %+v", i, got, due, step.want)
		}
	}
	if l.current != 700 {
		t.Errorf("limit %d, want 700: growth requires a dump", l.current)
	}
}
