package main

import (
	"bytes"
	"fmt"
	"html"
	"math"
	"slices"

	"dpifd/test/bench"
)

// Sizes of the plot in SVG pixels. It is narrow, so that its text is readable on a phone.
const (
	plotWidth  = 640
	margin     = 16
	valueWidth = 52 // right of the axis, for the value of the last dot
	rowHead    = 25 // text of a row, and the space below the row
	markHeight = 14
	panelHead  = 44
	panelFoot  = 34
)

// plotted are the loads of the plot; the tables have all of them.
var plotted = []string{"2k", "5k", "burst", "5k-128port", "quiet"}

// plotStyle defines the colours for light and dark pages, one class for each series.
const plotStyle = `<style>
text{fill:#1f2328}.soft{fill:#59636e}.grid{stroke:#d1d9e0}.page{fill:#ffffff}
.s0{fill:#59636e;stroke:#59636e}.s1{fill:#0b6bcb;stroke:#0b6bcb}.s2{fill:#b8590a;stroke:#b8590a}.s3{fill:#1a7f37;stroke:#1a7f37}
@media (prefers-color-scheme:dark){
text{fill:#f0f6fc}.soft{fill:#9198a1}.grid{stroke:#3d444d}.page{fill:#0d1117}
.s0{fill:#9198a1;stroke:#9198a1}.s1{fill:#58a6ff;stroke:#58a6ff}.s2{fill:#f0883e;stroke:#f0883e}.s3{fill:#3fb950;stroke:#3fb950}}
</style>
`

// series is one of the compared switches: its name, and its text in the legend.
type series struct{ name, legend, class string }

var (
	floorSeries  = series{bench.Floor, "floor: a minimal C loop", "s0"}
	dpifdSeries  = series{bench.Dpifd, "dpifd", "s1"}
	ovsSeries    = series{bench.Vswitchd, "ovs-vswitchd", "s2"}
	perCPUSeries = series{bench.PerCPU, "dpifd, dispatch: per-cpu", "s3"}
)

// plotRow is one measurement of all series.
type plotRow struct{ name, about string }

// plotPanel is one figure: a title, rows, and the spread of a series in a row.
type plotPanel struct {
	title string
	rows  []plotRow
	of    func(row, series string) (bench.Spread, bool)
}

// drawPlot draws the plot of a run.
func drawPlot(r *bench.Run) []byte {
	var rows []plotRow
	for _, l := range bench.Loads {
		if slices.Contains(plotted, l.Name) && len(r.Of(l.Name, bench.Dpifd, cpu.of)) > 0 {
			rows = append(rows, plotRow{l.Name, l.About})
		}
	}
	of := func(f figure) func(string, string) (bench.Spread, bool) {
		return func(row, series string) (bench.Spread, bool) { return r.Spread(row, series, f.of) }
	}
	return draw([]series{floorSeries, dpifdSeries, ovsSeries}, []plotPanel{
		{"CPU per upcall, microseconds (less is better)", rows, of(cpu)},
		{"First-packet latency, 99th percentile, milliseconds (less is better)", rows, of(p99)},
	})
}

// draw draws panels. A row has a line of text and, for each series, a dot at the median, a line
// from minimum to maximum, and the median as text. Axes are logarithmic, with ticks at powers of
// ten.
func draw(all []series, panels []plotPanel) []byte {
	var body bytes.Buffer
	y := 40
	for _, p := range panels {
		y += p.draw(&body, y, all)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" viewBox="0 0 %[1]d %[2]d" `+
		`font-family="sans-serif" font-size="13">`+"\n", plotWidth, y)
	b.WriteString(plotStyle)
	b.WriteString(`<rect class="page" width="100%" height="100%"/>` + "\n")
	x := margin + 6
	for _, s := range all {
		fmt.Fprintf(&b, `<circle class="%s" cx="%d" cy="20" r="5"/><text x="%d" y="25">%s</text>`+"\n",
			s.class, x, x+12, s.legend)
		x += 50 + 7*len(s.legend)
	}
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// draw draws the panel from y on and returns its height, 0 if it is empty.
func (p *plotPanel) draw(b *bytes.Buffer, y int, all []series) int {
	low, high := math.Inf(1), math.Inf(-1)
	for _, row := range p.rows {
		for _, one := range all {
			if s, ok := p.of(row.name, one.name); ok {
				low, high = math.Min(low, math.Max(s.Min, 0.01)), math.Max(high, s.Max)
			}
		}
	}
	if high < low {
		return 0
	}
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	to = math.Max(to, from+1)
	x := func(v float64) float64 {
		part := (math.Log10(math.Max(v, math.Pow(10, from))) - from) / (to - from)
		return margin + 6 + part*(plotWidth-2*margin-valueWidth)
	}
	rowHeight := rowHead + len(all)*markHeight
	top, bottom := y+panelHead, y+panelHead+len(p.rows)*rowHeight
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="15" font-weight="bold">%s</text>`+"\n",
		margin, y+28, html.EscapeString(p.title))
	for e := from; e <= to; e++ {
		at := x(math.Pow(10, e))
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" y1="%d" x2="%.1f" y2="%d"/>`, at, top, at, bottom)
		fmt.Fprintf(b, `<text class="soft" x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n",
			at, bottom+18, math.Pow(10, e))
	}
	for i, row := range p.rows {
		at := top + i*rowHeight + 14
		fmt.Fprintf(b, `<text x="%d" y="%d"><tspan font-weight="bold">%s</tspan> <tspan class="soft">%s</tspan></text>`+"\n",
			margin, at, html.EscapeString(row.name), html.EscapeString(row.about))
		for _, one := range all {
			at += markHeight
			s, ok := p.of(row.name, one.name)
			if !ok {
				continue
			}
			fmt.Fprintf(b, `<line class="%s" x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke-width="3"/>`,
				one.class, x(s.Min), at-3, x(s.Max), at-3)
			fmt.Fprintf(b, `<circle class="%s" cx="%.1f" cy="%d" r="5"/>`, one.class, x(s.Median), at-3)
			fmt.Fprintf(b, `<text class="soft" font-size="12" x="%.1f" y="%d">%s</text>`+"\n", x(s.Max)+9, at+1, short(s.Median))
		}
	}
	return panelHead + len(p.rows)*rowHeight + panelFoot
}

// short formats a value with two significant digits if it is below ten, else as an integer.
func short(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2g", v)
	}
	return fmt.Sprintf("%.0f", v)
}
