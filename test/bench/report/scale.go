package main

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"runtime"
	"time"

	"dpifd/test/bench"
)

// scaleFigure is a column of the tables of a scale run.
type scaleFigure struct {
	name, format string
	of           func(*bench.ScalePoint) float64
}

var portFigures = []scaleFigure{
	{"ready after s", "%.2f", func(p *bench.ScalePoint) float64 { return p.ReadySeconds }},
	{"idle, % of a core", "%.2f", func(p *bench.ScalePoint) float64 { return 100 * p.IdleCPU }},
	{"CPU us per upcall", "%.0f", func(p *bench.ScalePoint) float64 { return p.CPUPerUpcall }},
	{"RSS MiB", "%.1f", func(p *bench.ScalePoint) float64 { return float64(p.RSSKiB) / 1024 }},
	{"descriptors", "%.0f", func(p *bench.ScalePoint) float64 { return float64(p.FDs) }},
	{"not arrived", "%.0f", func(p *bench.ScalePoint) float64 { return float64(p.Lost) }},
}

var flowFigures = []scaleFigure{
	{"held", "%.0f", func(p *bench.ScalePoint) float64 { return float64(p.Held) }},
	{"at rest, % of a core", "%.1f", func(p *bench.ScalePoint) float64 { return 100 * p.IdleCPU }},
	{"terse dump s", "%.2f", func(p *bench.ScalePoint) float64 { return p.TerseSeconds }},
	{"full dump s", "%.2f", func(p *bench.ScalePoint) float64 { return p.FullSeconds }},
	{"RSS MiB", "%.1f", func(p *bench.ScalePoint) float64 { return float64(p.RSSKiB) / 1024 }},
}

// reportScale puts the tables of a scale run between the marks of a document.
func reportScale(in, doc, load string) error {
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
	scaleTable(&b, r, "Ports", []string{bench.Dpifd, bench.PerCPU, bench.Vswitchd}, portFigures, bench.ScalePorts,
		func(n int) (int, int) { return n, 0 })
	scaleTable(&b, r, "Flows", []string{bench.Dpifd, bench.Vswitchd}, flowFigures, bench.ScaleFlows,
		func(n int) (int, int) { return 2, n })
	return update(doc, b.String())
}

func scaleTable(w io.Writer, r *bench.ScaleRun, what string, names []string, figures []scaleFigure, sizes []int, at func(int) (ports, flows int)) {
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
			if _, ok := r.Of(name, ports, flows, figures[0].of); !ok {
				continue
			}
			fmt.Fprintf(w, "| %s | %d |", name, n)
			for _, f := range figures {
				s, ok := r.Of(name, ports, flows, f.of)
				fmt.Fprintf(w, " %s |", spanOrOne(s, ok, f.format))
			}
			fmt.Fprintln(w)
		}
	}
}

// spanOrOne is span, without the bounds where there was one round.
func spanOrOne(s bench.Spread, ok bool, format string) string {
	if ok && s.Min == s.Max {
		return fmt.Sprintf(format, s.Median)
	}
	return span(s, ok, format)
}
