package main

import (
	"bytes"
	"fmt"
	"html"
	"math"

	"dpifd/test/bench"
)

// Sizes of the plot in SVG's pixels.
const (
	plotWidth  = 1000
	labelWidth = 330
	rowHeight  = 44
	panelHead  = 46
	panelFoot  = 34
)

var colours = map[string]string{bench.Floor: "#777777", bench.Dpifd: "#0b6bcb", bench.Vswitchd: "#d9730d"}

// drawPlot draws a panel for each figure: a row for each load with what it is, in
// it for each switch a dot at the median and a line from the least to the most, on
// a logarithmic axis.
func drawPlot(r *bench.Run) []byte {
	var body bytes.Buffer
	y := 40
	for _, p := range []struct {
		title string
		figure
	}{
		{"CPU per upcall, us (less is better)", cpu},
		{"First-packet latency p99, ms (less is better)", p99},
		{"Arrived frames a second (more is better)", throughput},
	} {
		y += panel(&body, y, p.title, p.figure, r)
	}
	var b bytes.Buffer
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12">`+"\n", plotWidth, y)
	fmt.Fprintf(&b, `<rect width="100%%" height="100%%" fill="white"/>`+"\n")
	for i, name := range bench.Switches {
		x := labelWidth + i*130
		fmt.Fprintf(&b, `<circle cx="%d" cy="20" r="5" fill="%s"/><text x="%d" y="24">%s</text>`+"\n", x, colours[name], x+10, name)
	}
	b.Write(body.Bytes())
	b.WriteString("</svg>\n")
	return b.Bytes()
}

// panel draws one figure from y on and returns its height.
func panel(b *bytes.Buffer, y int, title string, f figure, r *bench.Run) int {
	var loads []bench.Load
	low, high := math.Inf(1), math.Inf(-1)
	for _, l := range bench.Loads {
		if !l.Frames() {
			continue
		}
		for i, name := range bench.Switches {
			s, ok := r.Spread(l.Name, name, f.of)
			if !ok {
				continue
			}
			if i == 0 {
				loads = append(loads, l)
			}
			low, high = math.Min(low, math.Max(s.Min, 0.01)), math.Max(high, s.Max)
		}
	}
	if len(loads) == 0 {
		return 0
	}
	from, to := math.Floor(math.Log10(low)), math.Ceil(math.Log10(high))
	to = math.Max(to, from+1)
	x := func(v float64) float64 {
		part := (math.Log10(math.Max(v, math.Pow(10, from))) - from) / (to - from)
		return labelWidth + part*(plotWidth-labelWidth-30)
	}
	top, bottom := y+panelHead, y+panelHead+len(loads)*rowHeight
	fmt.Fprintf(b, `<text x="%d" y="%d" font-size="14" font-weight="bold">%s</text>`+"\n", labelWidth, y+28, html.EscapeString(title))
	for e := from; e <= to; e++ {
		at := x(math.Pow(10, e))
		fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="#dddddd"/>`, at, top, at, bottom)
		fmt.Fprintf(b, `<text x="%.1f" y="%d" text-anchor="middle">%g</text>`+"\n", at, bottom+16, math.Pow(10, e))
	}
	for i, load := range loads {
		row := top + i*rowHeight
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end">%s</text>`, labelWidth-8, row+rowHeight/2-2, load.Name)
		fmt.Fprintf(b, `<text x="%d" y="%d" text-anchor="end" font-size="9" fill="#666666">%s</text>`+"\n",
			labelWidth-8, row+rowHeight/2+11, html.EscapeString(load.About))
		for j, name := range bench.Switches {
			s, ok := r.Spread(load.Name, name, f.of)
			if !ok {
				continue
			}
			at := row + (j+1)*rowHeight/4
			fmt.Fprintf(b, `<line x1="%.1f" y1="%d" x2="%.1f" y2="%d" stroke="%s" stroke-width="3"/>`, x(s.Min), at, x(s.Max), at, colours[name])
			fmt.Fprintf(b, `<circle cx="%.1f" cy="%d" r="5" fill="%s"/>`+"\n", x(s.Median), at, colours[name])
		}
	}
	return panelHead + len(loads)*rowHeight + panelFoot
}
