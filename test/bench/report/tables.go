package main

import (
	"fmt"
	"io"

	"dpifd/test/bench"
)

// figure is a column of the report.
type figure struct {
	name   string
	format string
	of     bench.Figure
	better string // which ratios are better
}

var (
	cpu        = figure{"CPU per upcall", "%.0f", func(m *bench.Result) float64 { return m.CPUPerUpcall(false) }, "less"}
	throughput = figure{"throughput", "%.0f", func(m *bench.Result) float64 { return m.Throughput() }, "more"}
	p50        = figure{"p50", "%.2f", func(m *bench.Result) float64 { return m.P50 }, "less"}
	p99        = figure{"p99", "%.1f", func(m *bench.Result) float64 { return m.P99 }, "less"}
	user       = figure{"user part", "%.0f", func(m *bench.Result) float64 { return m.CPUPerUpcall(true) }, "less"}
	each       = figure{"upcalls each", "%.2f", func(m *bench.Result) float64 { return m.UpcallsEach() }, "less"}
	rss        = figure{"RSS", "%.1f", func(m *bench.Result) float64 { return float64(m.RSSKiB) / 1024 }, "less"}
	missing    = figure{"not arrived", "%.0f", func(m *bench.Result) float64 { return float64(m.Sent - m.Arrived) }, "less"}
)

// span formats a spread as its median and, in brackets, its bounds.
func span(s bench.Spread, ok bool, format string) string {
	if !ok {
		return "-"
	}
	return fmt.Sprintf(format+" ["+format+", "+format+"]", s.Median, s.Min, s.Max)
}

// writeTargets compares the medians with the targets.
func writeTargets(w io.Writer, r *bench.Run, binarySize int64) {
	fmt.Fprintf(w, "| Target | Aim | Measured | |\n|---|---|---|---|\n")
	line := func(what, aim string, limit float64, atLeast bool, s bench.Spread, ok bool, format string) {
		verdict := "missed"
		switch {
		case !ok:
			verdict = "not measured"
		case atLeast && s.Median >= limit, !atLeast && s.Median <= limit:
			verdict = "met"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", what, aim, span(s, ok, format), verdict)
	}
	ratio := func(what, aim, load, to string, f figure, limit float64, atLeast bool) {
		s, ok := r.Ratio(load, bench.Dpifd, to, f.of)
		line(what, aim, limit, atLeast, s, ok, "%.2f")
	}
	ratio("CPU per upcall at 5,000/s, to the floor", "<= 1.2", "5k", bench.Floor, cpu, 1.2, false)
	ratio("CPU per upcall at 5,000/s, to ovs-vswitchd", "<= 0.75", "5k", bench.Vswitchd, cpu, 0.75, false)
	ratio("p99 first-packet latency at 2,000/s, to ovs-vswitchd", "<= 0.2", "2k", bench.Vswitchd, p99, 0.2, false)
	ratio("throughput unbounded, to ovs-vswitchd", ">= 1.1", "burst", bench.Vswitchd, throughput, 1.1, true)
	lost, ok := r.Spread("burst", bench.Dpifd, func(m *bench.Result) float64 { return float64(m.Lost) })
	// Lost packets in any round count.
	lost.Median = lost.Max
	line("lost in a burst of 10,000, worst round", "0", 0, false, lost, ok, "%.0f")
	ratio("RSS at 10,000 flows, to ovs-vswitchd", "<= 1", "5k", bench.Vswitchd, rss, 1, false)
	size := float64(binarySize) / 1e6
	line("binary, MB", "< 15", 15, false, bench.Spread{Min: size, Median: size, Max: size}, true, "%.1f")
}

// writeTables writes a table for each load, and the ratios of all loads.
func writeTables(w io.Writer, r *bench.Run) {
	fmt.Fprintf(w, "\n### Ratios of dpifd\n\n| Load | Figure | to the floor | to ovs-vswitchd | better is |\n"+
		"|---|---|---|---|---|\n")
	for _, l := range bench.Loads {
		for _, f := range []figure{cpu, throughput, p50, p99} {
			if !l.Frames() && f.name == cpu.name {
				continue // hardly any upcalls
			}
			below, ok := r.Ratio(l.Name, bench.Dpifd, bench.Floor, f.of)
			beside, okOVS := r.Ratio(l.Name, bench.Dpifd, bench.Vswitchd, f.of)
			if ok || okOVS {
				fmt.Fprintf(w, "| %s | %s | %s | %s | %s |\n",
					l.Name, f.name, span(below, ok, "%.2f"), span(beside, okOVS, "%.2f"), f.better)
			}
		}
	}
	for _, l := range bench.Loads {
		if len(r.Of(l.Name, bench.Dpifd, cpu.of)) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n### %s: %s\n\n", l.Name, l.About)
		if l.Conversations > 0 {
			table(w, r, l.Name, []string{"upcalls each", "conversations/s", "p50 ms", "p99 ms"},
				[]figure{each, throughput, p50, p99})
			continue
		}
		if l.Transactions > 0 {
			table(w, r, l.Name, []string{"connections/s", "p50 ms", "p99 ms"}, []figure{throughput, p50, p99})
			continue
		}
		table(w, r, l.Name,
			[]string{"CPU us per upcall", "user part", "arrived/s", "p50 ms", "p99 ms", "not arrived", "RSS MiB"},
			[]figure{cpu, user, throughput, p50, p99, missing, rss})
	}
}

func table(w io.Writer, r *bench.Run, load string, heads []string, figures []figure) {
	fmt.Fprint(w, "| |")
	for _, h := range heads {
		fmt.Fprintf(w, " %s |", h)
	}
	fmt.Fprint(w, "\n|---|")
	for range heads {
		fmt.Fprint(w, "---|")
	}
	fmt.Fprintln(w)
	for _, name := range bench.Switches {
		fmt.Fprintf(w, "| %s |", name)
		for _, f := range figures {
			s, ok := r.Spread(load, name, f.of)
			fmt.Fprintf(w, " %s |", span(s, ok, f.format))
		}
		fmt.Fprintln(w)
	}
}
