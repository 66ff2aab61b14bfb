package report

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Sizes of a plot in SVG's pixels: the frame of the curves within the image.
const (
	plotWidth, plotHeight = 960, 220
	left, right           = 70, 16
	top, bottom           = 16, 30
)

// curve is one line of a plot.
type curve struct {
	name, colour string
	points       []point
	bars         bool // each point is a separate amount, not part of a line
}

type point struct {
	at    time.Time
	y     float64
	apart bool // not connected to the previous point
}

// plot is one image. All plots of a datapath have the same time axis.
type plot struct {
	title, unit string
	from, to    time.Time
	top         float64 // of the y axis; 0 means the maximum of the points
	curves      []curve
	marks       []Mark
}

// draw returns the plot as SVG, with its key before it.
func (p *plot) draw() string {
	var b strings.Builder
	b.WriteString(`<p class="key">`)
	for _, c := range p.curves {
		if len(c.points) == 0 {
			continue
		}
		fmt.Fprintf(&b, `<span><i style="background:%s"></i>%s</span>`, c.colour, escape(c.name))
	}
	fmt.Fprintf(&b, "<span class=\"unit\">%s</span></p>\n", escape(p.unit))
	fmt.Fprintf(&b, `<svg viewBox="0 0 %d %d" role="img" aria-label="%s">`, plotWidth, plotHeight, escape(p.title))
	high := p.top
	if high == 0 {
		high = ceiling(p.peak())
	}
	x := func(at time.Time) float64 {
		return left + float64(at.Sub(p.from))/float64(p.to.Sub(p.from))*(plotWidth-left-right)
	}
	y := func(v float64) float64 { return plotHeight - bottom - v/high*(plotHeight-top-bottom) }
	for i := range 5 {
		v := high * float64(i) / 4
		fmt.Fprintf(&b, `<line class="grid" x1="%d" x2="%d" y1="%.1f" y2="%.1f"/><text x="%d" y="%.1f" class="y">%s</text>`,
			left, plotWidth-right, y(v), y(v), left-6, y(v)+4, short(v))
	}
	p.timeAxis(&b, x)
	p.drawMarks(&b, x)
	for _, c := range p.curves {
		c.draw(&b, x, y)
	}
	b.WriteString("</svg>")
	return b.String()
}

const (
	// markWidth is the smallest distance between two marks in pixels. Events closer together
	// share a mark, whose text lists the first markTexts of them.
	markWidth, markTexts = 4, 8
	// tallMarks is the greatest number of marks with a line behind the curves. More lines
	// would hide the curves.
	tallMarks = 24
	// A mark is a tick above the frame of the curves.
	tickTop, tickBottom = 2, top - 3
)

// drawMarks draws the events that are not routine, in order of time: a tick above the curves
// and, if there are few, a faint line behind them.
func (p *plot) drawMarks(b *strings.Builder, x func(time.Time) float64) {
	type mark struct {
		at           float64
		level, title string
	}
	var marks []mark
	for i := 0; i < len(p.marks); {
		at, level, n := x(p.marks[i].Time), "plain", 0
		var title strings.Builder
		for ; i < len(p.marks) && x(p.marks[i].Time) < at+markWidth; i++ {
			m := &p.marks[i]
			if m.Routine {
				continue
			}
			if n++; n <= markTexts {
				fmt.Fprintf(&title, "%s %s %s\n", m.Time.UTC().Format(time.TimeOnly), m.Event, m.Details)
			}
			if c := class(m.Level); level != "error" && c != "plain" {
				level = c
			}
		}
		if n > markTexts {
			fmt.Fprintf(&title, "and %d more", n-markTexts)
		}
		if n > 0 {
			marks = append(marks, mark{at, level, title.String()})
		}
	}
	for _, m := range marks {
		fmt.Fprintf(b, `<g class="mark %s"><title>%s</title><path d="M%.1f %dV%d"/>`,
			m.level, escape(m.title), m.at, tickTop, tickBottom)
		if len(marks) <= tallMarks {
			fmt.Fprintf(b, `<path class="behind" d="M%.1f %dV%d"/>`, m.at, top, plotHeight-bottom)
		}
		b.WriteString("</g>")
	}
}

// draw draws a curve: a line that breaks where samples are missing, or bars.
func (c *curve) draw(b *strings.Builder, x func(time.Time) float64, y func(float64) float64) {
	if c.bars {
		for _, p := range c.points {
			fmt.Fprintf(b, `<line class="bar" stroke="%s" x1="%.1f" x2="%.1f" y1="%.1f" y2="%.1f">`+
				`<title>%s %s: %s</title></line>`,
				c.colour, x(p.at), x(p.at), y(0), y(p.y), p.at.UTC().Format(time.TimeOnly), escape(c.name), short(p.y))
		}
		return
	}
	var path strings.Builder
	for i, p := range c.points {
		if i == 0 || p.apart {
			// A point alone shows as a dot, by its round ends.
			fmt.Fprintf(&path, "M%.1f %.1f", x(p.at), y(p.y))
		}
		fmt.Fprintf(&path, "L%.1f %.1f", x(p.at), y(p.y))
	}
	fmt.Fprintf(b, `<path class="curve" stroke="%s" d="%s"/>`, c.colour, path.String())
}

func (p *plot) peak() float64 {
	var peak float64
	for _, c := range p.curves {
		for _, at := range c.points {
			peak = max(peak, at.y)
		}
	}
	return peak
}

// timeAxis draws at most eight ticks at round times.
func (p *plot) timeAxis(b *strings.Builder, x func(time.Time) float64) {
	span := p.to.Sub(p.from)
	step := 24 * time.Hour
	for _, s := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour} {
		if span/s < 8 {
			step = s
			break
		}
	}
	for span/step >= 8 {
		step *= 2
	}
	format := time.TimeOnly
	if step >= 12*time.Hour {
		format = "Jan 2"
	} else if step >= time.Minute {
		format = "15:04"
	}
	for at := p.from.Truncate(step).Add(step); at.Before(p.to); at = at.Add(step) {
		fmt.Fprintf(b, `<line class="grid" x1="%.1f" x2="%.1f" y1="%d" y2="%d"/><text x="%.1f" y="%d" class="x">%s</text>`,
			x(at), x(at), top, plotHeight-bottom, x(at), plotHeight-8, at.UTC().Format(format))
	}
}

// ceiling is the least of 1, 2, 4, 5 and 10 times a power of ten that is not
// below v.
func ceiling(v float64) float64 {
	if v <= 0 {
		return 1
	}
	scale := math.Pow(10, math.Floor(math.Log10(v)))
	for _, f := range []float64{1, 2, 4, 5} {
		if v <= f*scale {
			return f * scale
		}
	}
	return 10 * scale
}

// short writes a number with at most four digits and a decimal prefix.
func short(v float64) string {
	switch {
	case v >= 1e9:
		return fmt.Sprintf("%.4gG", v/1e9)
	case v >= 1e6:
		return fmt.Sprintf("%.4gM", v/1e6)
	case v >= 1e4:
		return fmt.Sprintf("%.4gk", v/1e3)
	}
	return fmt.Sprintf("%.4g", v)
}
