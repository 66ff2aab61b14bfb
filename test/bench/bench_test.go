package bench

import (
	"path/filepath"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestPercentile(t *testing.T) {
	hundred := make([]float64, 100)
	for i := range hundred {
		hundred[i] = float64(i + 1)
	}
	for _, c := range []struct {
		sorted []float64
		p      int
		want   float64
	}{
		{nil, 50, 0}, {[]float64{7}, 0, 7}, {[]float64{7}, 99, 7}, {[]float64{1, 2}, 50, 1},
		{[]float64{1, 2, 3}, 50, 2}, {[]float64{1, 2, 3}, 99, 3}, {hundred, 99, 99}, {hundred, 100, 100}, {hundred[:30], 99, 30},
	} {
		if got := Percentile(c.sorted, c.p); got != c.want {
			t.Errorf("%d-th percentile of %v: %v, want %v", c.p, c.sorted, got, c.want)
		}
	}
}

func TestSpread(t *testing.T) {
	for _, c := range []struct {
		values []float64
		want   Spread
	}{
		{[]float64{3}, Spread{3, 3, 3}},
		{[]float64{9, 4}, Spread{4, 6.5, 9}},
		{[]float64{5, 1, 30, 2, 4}, Spread{1, 4, 30}},
	} {
		if got := NewSpread(c.values); got != c.want {
			t.Errorf("spread of %v: %v, want %v", c.values, got, c.want)
		}
	}
}

func TestRatioIsTakenWithinRounds(t *testing.T) {
	throughput := func(m *Result) float64 { return m.Throughput() }
	r := Run{Results: []Result{
		{Load: "x", Switch: Dpifd, Round: 1, Arrived: 100, Seconds: 1},
		{Load: "x", Switch: Floor, Round: 1, Arrived: 50, Seconds: 1},
		{Load: "x", Switch: Dpifd, Round: 2, Arrived: 30, Seconds: 2},
		{Load: "x", Switch: Floor, Round: 2, Arrived: 60, Seconds: 2},
		{Load: "x", Switch: Dpifd, Round: 3, Arrived: 12, Seconds: 4},
		{Load: "x", Switch: Floor, Round: 3, Arrived: 0, Seconds: 4},
		{Load: "y", Switch: Floor, Round: 1, Arrived: 1, Seconds: 1},
	}}
	if got, ok := r.Ratio("x", Dpifd, Floor, throughput); !ok || got != (Spread{0.5, 1.25, 2}) {
		t.Errorf("ratio: %v, %v", got, ok)
	}
	if got, ok := r.Ratio("y", Dpifd, Floor, throughput); ok {
		t.Errorf("a ratio of nothing: %v", got)
	}
	if n := r.Rounds(); n != 3 {
		t.Errorf("%d rounds, want 3", n)
	}
}

func TestCPUPerUpcall(t *testing.T) {
	m := Result{Missed: 1100, Lost: 100, User: 0.25, System: 1.5}
	if all, user := m.CPUPerUpcall(false), m.CPUPerUpcall(true); all != 1750 || user != 250 {
		t.Errorf("%v and %v us, want 1750 and 250", all, user)
	}
}

func TestWriteAndRead(t *testing.T) {
	want := Run{Kernel: "6.1", CPUs: 2, OVS: "3.1",
		Results: []Result{{Load: "5k", Switch: Dpifd, Round: 4, Sent: 9, P99: 2.5}}}
	file := filepath.Join(t.TempDir(), "run.json")
	if err := want.Write(file); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRun(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(&want, got); d != "" {
		t.Error(d)
	}
	if _, err := ReadRun(file + "x"); err == nil {
		t.Error("a missing file was read")
	}
}

func TestLoadsHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, l := range Loads {
		if l.Name == "" || l.About == "" || seen[l.Name] || l.Ports < 2 || (l.Count == 0) == l.Frames() {
			t.Errorf("load %+v", l)
		}
		seen[l.Name] = true
	}
}

func TestScaleRun(t *testing.T) {
	r := &ScaleRun{Points: []ScalePoint{
		{Switch: Dpifd, Round: 1, Ports: 1000, ReadySeconds: 1},
		{Switch: Dpifd, Round: 2, Ports: 1000, ReadySeconds: 3},
		{Switch: Vswitchd, Round: 1, Ports: 1000, ReadySeconds: 120, Failed: "not ready within 120 s"},
		{Switch: Vswitchd, Round: 2, Ports: 1000, ReadySeconds: 12},
		{Switch: Dpifd, Round: 1, Ports: 2, Flows: 50, ReadySeconds: 9},
		{Switch: Dpifd, Round: 1, Ports: 2, Flows: 10, ReadySeconds: 9},
	}}
	ready := func(p *ScalePoint) float64 { return p.ReadySeconds }
	// The failed round counts for neither.
	if s, ok := r.Of(Vswitchd, 1000, 0, ready); !ok || s != (Spread{12, 12, 12}) {
		t.Errorf("%v, %v", s, ok)
	}
	if s, ok := r.Ratio(Dpifd, Vswitchd, 1000, 0, ready); !ok || s != (Spread{0.25, 0.25, 0.25}) {
		t.Errorf("%v, %v", s, ok)
	}
	if _, ok := r.Ratio(Dpifd, Vswitchd, 2, 50, ready); ok {
		t.Error("a ratio to a missing measurement")
	}
	zero := func(p *ScalePoint) float64 { return float64(len(p.Switch) - len(Dpifd)) }
	if s, ok := r.Ratio(Dpifd, Vswitchd, 1000, 0, zero); ok {
		t.Errorf("%v, a ratio of a missing measurement", s)
	}
	if got := r.Failure(Vswitchd, 1000, 0); got != "not ready within 120 s" {
		t.Errorf("failure %q", got)
	}
	if got := r.Failure(Dpifd, 1000, 0); got != "" {
		t.Errorf("failure %q", got)
	}
	if p, f := r.Sizes(false), r.Sizes(true); !slices.Equal(p, []int{1000}) || !slices.Equal(f, []int{10, 50}) {
		t.Errorf("ports %v, flows %v", p, f)
	}
}
