package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"dpifd/test/bench"
)

// scaleFigure is a column of the tables of a scale run.
type scaleFigure struct {
	name, format string
	of           func(*bench.ScalePoint) float64
}

var portFigures = []scaleFigure{
	{"ready after s", "%.2f", readySeconds},
	{"idle, % of a core", "%.2f", idlePercent},
	{"CPU us per upcall", "%.0f", func(p *bench.ScalePoint) float64 { return p.CPUPerUpcall }},
	{"RSS MiB", "%.1f", func(p *bench.ScalePoint) float64 { return float64(p.RSSKiB) / 1024 }},
	{"descriptors", "%.0f", func(p *bench.ScalePoint) float64 { return float64(p.FDs) }},
	{"not arrived", "%.0f", func(p *bench.ScalePoint) float64 { return float64(p.Lost) }},
}

var flowFigures = []scaleFigure{
	{"held", "%.0f", held},
	{"at rest, % of a core", "%.1f", idlePercent},
	{"in use, % of a core", "%.1f", alivePercent},
	{"a dump then, s of CPU", "%.2f", dumpCPU},
	{"a change, s of CPU", "%.2f", changeCPU},
	{"left then", "%.0f", func(p *bench.ScalePoint) float64 { return float64(p.Left) }},
	{"its dump s", "%.2f", func(p *bench.ScalePoint) float64 { return p.CycleSeconds }},
	{"terse dump s", "%.2f", func(p *bench.ScalePoint) float64 { return p.TerseSeconds }},
	{"full dump s", "%.2f", func(p *bench.ScalePoint) float64 { return p.FullSeconds }},
	{"RSS MiB", "%.1f", func(p *bench.ScalePoint) float64 { return float64(p.RSSKiB) / 1024 }},
}

func readySeconds(p *bench.ScalePoint) float64 { return p.ReadySeconds }
func idlePercent(p *bench.ScalePoint) float64  { return 100 * p.IdleCPU }
func alivePercent(p *bench.ScalePoint) float64 { return 100 * p.AliveCPU }
func dumpCPU(p *bench.ScalePoint) float64      { return p.DumpCPU }
func changeCPU(p *bench.ScalePoint) float64    { return p.ChangeCPU }

// keptChangeCPU is changeCPU if the flows stayed, else 0, since deleting them costs something else.
func keptChangeCPU(p *bench.ScalePoint) float64 {
	if p.Left < p.Held*99/100 {
		return 0
	}
	return p.ChangeCPU
}

func held(p *bench.ScalePoint) float64 { return float64(p.Held) }

// reportScale writes the tables of a scale run between the marks of a document, and draws its plot.
func reportScale(in, doc, plot, load string) error {
	r, err := bench.ReadScaleRun(in)
	if err != nil {
		return err
	}
	measured, err := os.Stat(in)
	if err != nil {
		return err
	}
	rounds := 0
	for _, p := range r.Points {
		rounds = max(rounds, p.Round)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, "Measured %s on %s, %d cores (%s); load average before and after: %s.\n",
		measured.ModTime().UTC().Format(time.DateOnly), cpuModel(), runtime.NumCPU(), runtime.GOARCH, load)
	fmt.Fprintf(&b, "Guest: Linux %s, %d CPUs; %s. Rounds: %d.\n", r.Kernel, r.CPUs, r.OVS, rounds)
	scaleTargets(&b, r)
	scaleTable(&b, r, "Ports", []string{bench.Dpifd, bench.PerCPU, bench.Vswitchd}, portFigures, r.Sizes(false),
		func(n int) (int, int) { return n, 0 })
	scaleTable(&b, r, "Flows", []string{bench.Dpifd, bench.Vswitchd}, flowFigures, r.Sizes(true),
		func(n int) (int, int) { return 2, n })
	scaleRatios(&b, r)
	if err := update(doc, "measured", b.String()); err != nil {
		return err
	}
	return os.WriteFile(plot, drawScalePlot(r), 0o644)
}

// scaleRatios writes the cost of flows in dpifd as a ratio to that in ovs-vswitchd.
func scaleRatios(w io.Writer, r *bench.ScaleRun) {
	figures := []scaleFigure{
		{"a dump of flows in use", "%.2f", dumpCPU},
		{"a change", "%.2f", keptChangeCPU},
		{"RSS", "%.2f", func(p *bench.ScalePoint) float64 { return float64(p.RSSKiB) }},
	}
	fmt.Fprint(w, "\n### dpifd to ovs-vswitchd\n\n| Flows |")
	for _, f := range figures {
		fmt.Fprintf(w, " %s |", f.name)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---|", len(figures)))
	for _, n := range r.Sizes(true) {
		fmt.Fprintf(w, "| %d |", n)
		for _, f := range figures {
			s, ok := r.Ratio(bench.Dpifd, bench.Vswitchd, 2, n, f.of)
			fmt.Fprintf(w, " %s |", spanOrOne(s, ok, f.format))
		}
		fmt.Fprintln(w)
	}
}

const (
	portTarget   = 1000    // number of ports for the target of start
	changeTarget = 100_000 // number of flows for the target of changes
	heldTarget   = 200_000 // number of flows that must be held
)

// scaleTargets compares the results with the targets.
func scaleTargets(w io.Writer, r *bench.ScaleRun) {
	fmt.Fprint(w, "\n| Target | Aim | Measured | |\n|---|---|---|---|\n")
	for _, name := range []string{bench.Dpifd, bench.PerCPU} {
		s, ok := r.Of(name, portTarget, 0, readySeconds)
		target(w, fmt.Sprintf("%s: ready with %d ports, s", name, portTarget), "< 2 on a real machine",
			"in emulation", s, ok, "%.2f")
		// The largest number of ports that both serve in time.
		sizes := r.Sizes(false)
		for i := len(sizes) - 1; i >= 0; i-- {
			if s, ok := r.Ratio(name, bench.Vswitchd, sizes[i], 0, readySeconds); ok {
				target(w, fmt.Sprintf("%s: the same with %d ports, to ovs-vswitchd", name, sizes[i]), "", "", s, ok, "%.2f")
				break
			}
		}
	}
	verdict := func(met bool) string { return map[bool]string{true: "met", false: "missed"}[met] }
	for _, f := range []scaleFigure{
		{"dump of %d flows in use", "", dumpCPU},
		{"change with %d flows", "", keptChangeCPU},
	} {
		s, ok := r.Ratio(bench.Dpifd, bench.Vswitchd, 2, changeTarget, f.of)
		target(w, "CPU of a "+fmt.Sprintf(f.name, changeTarget)+", to ovs-vswitchd", "<= 0.5",
			verdict(s.Median <= 0.5), s, ok, "%.2f")
	}
	s, ok := r.Of(bench.Dpifd, 2, heldTarget, held)
	target(w, fmt.Sprintf("flows held of %d", heldTarget), "all", verdict(s.Min >= heldTarget), s, ok, "%.0f")
}

func target(w io.Writer, what, aim, verdict string, s bench.Spread, ok bool, format string) {
	if !ok {
		verdict = "not measured"
	}
	fmt.Fprintf(w, "| %s | %s | %s | %s |\n", what, aim, spanOrOne(s, ok, format), verdict)
}

func scaleTable(w io.Writer, r *bench.ScaleRun, what string, names []string, figures []scaleFigure, sizes []int,
	at func(int) (ports, flows int)) {
	fmt.Fprintf(w, "\n### %s\n\n| | %s |", what, what)
	for _, f := range figures {
		fmt.Fprintf(w, " %s |", f.name)
	}
	fmt.Fprint(w, "\n|---|---|")
	for range figures {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	for _, n := range sizes {
		ports, flows := at(n)
		for _, name := range names {
			failure := r.Failure(name, ports, flows)
			if _, ok := r.Of(name, ports, flows, figures[0].of); ok {
				fmt.Fprintf(w, "| %s | %d |", name, n)
				for _, f := range figures {
					s, ok := r.Of(name, ports, flows, f.of)
					fmt.Fprintf(w, " %s |", spanOrOne(s, ok, f.format))
				}
				fmt.Fprintln(w)
			}
			if failure != "" {
				fmt.Fprintf(w, "| %s | %d | %s |%s\n", name, n, failure, strings.Repeat(" |", len(figures)-1))
			}
		}
	}
}

// spanOrOne is span, without the bounds if there was only one round.
func spanOrOne(s bench.Spread, ok bool, format string) string {
	if ok && s.Min == s.Max {
		return fmt.Sprintf(format, s.Median)
	}
	return span(s, ok, format)
}
