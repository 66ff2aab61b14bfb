package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"dpifd/test/bench"
)

// measured is a run in which dpifd misses one target, the CPU ratio to the floor.
func measured() *bench.Run {
	r := &bench.Run{Kernel: "6.1.0", CPUs: 2, OVS: "ovs-vswitchd 3.1.0"}
	add := func(load, name string, round int, cpu, p99, seconds float64, rss int) {
		r.Results = append(r.Results, bench.Result{Load: load, Switch: name, Round: round, Sent: 1000, Arrived: 1000,
			Missed: 1000, Seconds: seconds, User: cpu / 4, System: cpu * 3 / 4, P50: p99 / 10, P99: p99, RSSKiB: rss})
	}
	for _, load := range []string{"2k", "5k", "burst"} {
		for round := 1; round <= 3; round++ {
			skew := 1 + float64(round)/8
			add(load, bench.Floor, round, 0.1, 4*skew, 0.2, 1024)
			add(load, bench.Dpifd, round, 0.15*skew, 5, 0.25, 20_000)
			add(load, bench.Vswitchd, round, 0.3, 50*skew, 0.5, 30_000)
		}
	}
	return r
}

func TestTargets(t *testing.T) {
	var b bytes.Buffer
	writeTargets(&b, measured(), 12_300_000)
	for _, want := range []string{
		"| CPU per upcall at 5,000/s, to the floor | <= 1.2 | 1.88 [1.69, 2.06] | missed |",
		"| CPU per upcall at 5,000/s, to ovs-vswitchd | <= 0.75 | 0.62 [0.56, 0.69] | met |",
		"| p99 first-packet latency at 2,000/s, to ovs-vswitchd | <= 0.2 | 0.08 [0.07, 0.09] | met |",
		"| throughput unbounded, to ovs-vswitchd | >= 1.1 | 2.00 [2.00, 2.00] | met |",
		"| lost in a burst of 10,000, worst round | 0 | 0 [0, 0] | met |",
		"| binary, MB | < 15 | 12.3 [12.3, 12.3] | met |",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("missing: %s\nin:\n%s", want, &b)
		}
	}
	r := measured()
	r.Results[len(r.Results)-2].Lost = 3 // dpifd, burst, round 3
	r.Results = r.Results[len(r.Results)-3:]
	b.Reset()
	writeTargets(&b, r, 16_000_000)
	for _, want := range []string{"| 3 [3, 3] | missed |", "| - | not measured |", "| 16.0 [16.0, 16.0] | missed |"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("missing: %s\nin:\n%s", want, &b)
		}
	}
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	in, doc, plot := filepath.Join(dir, "run.json"), filepath.Join(dir, "doc.md"), filepath.Join(dir, "plot.svg")
	if err := measured().Write(in); err != nil {
		t.Fatal(err)
	}
	beginSummary, endSummary := marks("summary")
	beginTables, endTables := marks("measured")
	text := "before\n" + beginSummary + "old\n" + endSummary + "between\n" + beginTables + "old\n" + endTables + "after\n"
	if err := os.WriteFile(doc, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := report(in, doc, plot, in, "0.5, 0.7"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	got := string(b)
	if !strings.HasPrefix(got, "before\n"+beginSummary) || !strings.HasSuffix(got, endTables+"after\n") ||
		!strings.Contains(got, "\n"+endSummary+"between\n"+beginTables) || strings.Contains(got, "old\n") {
		t.Errorf("the document is\n%s", got)
	}
	for _, want := range []string{"3 rounds", "0.5, 0.7", "| 5k | CPU per upcall | 1.88 [1.69, 2.06] |",
		"| dpifd | 188 [169, 206] | 47 [42, 52] | 4000 [4000, 4000] |"} {
		if !strings.Contains(got, want) {
			t.Errorf("missing: %s\nin:\n%s", want, got)
		}
	}
	b, err = os.ReadFile(plot)
	if err != nil {
		t.Fatal(err)
	}
	dots := dotsOf(t, b)
	// Three dots in the legend, and three switches under three loads in two panels.
	if dots != 3+2*3*3 {
		t.Errorf("%d dots", dots)
	}
	if err := os.WriteFile(doc, []byte("no marks"), 0o644); err != nil {
		t.Fatal(err)
	}
	if report(in, doc, plot, in, "") == nil {
		t.Error("a document without marks was written")
	}
}

// dotsOf counts the dots of a plot.
func dotsOf(t *testing.T, svg []byte) int {
	t.Helper()
	dots := 0
	for d := xml.NewDecoder(bytes.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			return dots
		}
		if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "circle" {
			dots++
		}
	}
}

func TestReportScale(t *testing.T) {
	dir := t.TempDir()
	in, doc, plot := filepath.Join(dir, "scale.json"), filepath.Join(dir, "doc.md"), filepath.Join(dir, "plot.svg")
	r := bench.ScaleRun{Kernel: "6.1.0", CPUs: 2, OVS: "ovs-vswitchd 3.1.0", Points: []bench.ScalePoint{
		{Switch: bench.Dpifd, Round: 1, Ports: 128, ReadySeconds: 0.5, IdleCPU: 0.0015, RSSKiB: 20 << 10, FDs: 150, CPUPerUpcall: 99},
		{Switch: bench.Dpifd, Round: 2, Ports: 128, ReadySeconds: 1.5, IdleCPU: 0.0025, RSSKiB: 20 << 10, FDs: 150, CPUPerUpcall: 101},
		{Switch: bench.Vswitchd, Round: 1, Ports: 128, ReadySeconds: 2},
		{Switch: bench.Vswitchd, Round: 2, Ports: 128, ReadySeconds: 3},
		{Switch: bench.Dpifd, Round: 1, Ports: 1000, ReadySeconds: 1.25},
		{Switch: bench.Vswitchd, Round: 1, Ports: 1000, ReadySeconds: 120, Failed: "not ready within 120 s"},
		{Switch: bench.Vswitchd, Round: 1, Ports: 2, Flows: 50_000, Held: 41_000, IdleCPU: 0.5, RSSKiB: 1 << 16, TerseSeconds: 0.25, FullSeconds: 0.75,
			ChangeCPU: 1.5, Left: 40_000, CycleSeconds: 0.875, AliveCPU: 0.25, DumpCPU: 0.75},
		{Switch: bench.Dpifd, Round: 1, Ports: 2, Flows: 100_000, Held: 100_001, Left: 100_001, ChangeCPU: 0.5, DumpCPU: 0.375, RSSKiB: 100},
		{Switch: bench.Vswitchd, Round: 1, Ports: 2, Flows: 100_000, Held: 100_001, Left: 100_001, ChangeCPU: 2, DumpCPU: 0.5, RSSKiB: 400},
		{Switch: bench.Dpifd, Round: 1, Ports: 2, Flows: 200_000, Held: 199_999, Left: 150_000, ChangeCPU: 0.5},
		{Switch: bench.Vswitchd, Round: 1, Ports: 2, Flows: 200_000, Held: 200_000, Left: 200_000, ChangeCPU: 5, RSSKiB: 1},
	}}
	if err := r.Write(in); err != nil {
		t.Fatal(err)
	}
	begin, end := marks("measured")
	if err := os.WriteFile(doc, []byte("a\n"+begin+end+"b\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := reportScale(in, doc, plot, "1, 2"); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"Rounds: 2.",
		"| dpifd | 128 | 1.00 [0.50, 1.50] | 0.20 [0.15, 0.25] | 100 [99, 101] | 20.0 | 150 | 0 |",
		"| ovs-vswitchd | 50000 | 41000 | 50.0 | 25.0 | 0.75 | 1.50 | 40000 | 0.88 | 0.25 | 0.75 | 64.0 |",
		"| ovs-vswitchd | 1000 | not ready within 120 s | | | | | |\n",
		"| dpifd: ready with 1000 ports, s | < 2 on a real machine | 1.25 | in emulation |",
		"| dpifd: the same with 128 ports, to ovs-vswitchd |  | 0.38 [0.25, 0.50] |  |",
		"| dpifd per-cpu: ready with 1000 ports, s | < 2 on a real machine | - | not measured |",
		"| CPU of a dump of 100000 flows in use, to ovs-vswitchd | <= 0.5 | 0.75 | missed |",
		"| 100000 | 0.75 | 0.25 | 0.25 |\n",
		"| 50000 | - | - | - |\n",
		"| 200000 | - | - | - |\n", // flows were deleted
		"| CPU of a change with 100000 flows, to ovs-vswitchd | <= 0.5 | 0.25 | met |",
		"| flows held of 200000 | all | 199999 | missed |",
	} {
		if !strings.Contains(string(b), want) {
			t.Errorf("missing: %s\nin:\n%s", want, b)
		}
	}
	if b, err = os.ReadFile(plot); err != nil {
		t.Fatal(err)
	}
	// Three dots in the legend, three for served ports, five for flows.
	if dots := dotsOf(t, b); dots != 3+3+5 {
		t.Errorf("%d dots", dots)
	}
	if text := "flows, of which ovs-vswitchd held 41000"; !strings.Contains(string(b), text) {
		t.Errorf("the plot does not say %q", text)
	}
}
