package report

import (
	_ "embed"
	"fmt"
	"html"
	"io"
	"slices"
	"strings"
	"time"
)

//go:embed head.html
var head string

// section is the part of the page about one datapath.
type section struct {
	*Datapath
	From, To time.Time
	Plots    []titled

	Hit, Missed, Upcalls, Lost uint64
	Longest                    time.Duration
}

// titled is a plot with its heading. svg is markup already.
type titled struct {
	title, text, svg string
}

// Colours that can be distinguished in print and by most people (Okabe and Ito).
const (
	blue, orange, green, vermilion, purple, sky, black = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7",
		"#56b4e9", "currentColor"
)

// palette is for curves whose names have no fixed colour.
var palette = []string{blue, orange, green, vermilion, purple, sky, black}

var causeColours = map[string]string{
	"socket_overflow": vermilion, "ring_full": orange, "no_listener": purple, "execute_refused": blue,
	"decode_error": sky, "policy_error": green, "action_upcall": black, "shed": "#999999",
}

// Write writes the page; files are the names of the log files. It fails with ErrNoStats if
// there is nothing to plot.
func (l *Log) Write(w io.Writer, files []string) error {
	var sections []section
	for _, d := range l.Datapaths {
		if len(d.Samples) > 0 {
			sections = append(sections, newSection(d, l.byName[""]))
		}
	}
	if len(sections) == 0 {
		return ErrNoStats
	}
	var b strings.Builder
	b.WriteString(head)
	names := make([]string, len(sections))
	for i, s := range sections {
		names[i] = s.Name
	}
	of := strings.Join(names, ", ")
	if len(l.Hosts) > 0 {
		of += " on " + strings.Join(l.Hosts, ", ")
	}
	fmt.Fprintf(&b, "<title>dpifd report: %s</title>\n</head>\n<body>\n<h1>dpifd report: %[1]s</h1>\n", escape(of))
	broken := ""
	if l.Broken > 0 {
		broken = fmt.Sprintf(", %d other lines", l.Broken)
	}
	fmt.Fprintf(&b, "<p>%s: %d events%s. Times are UTC.</p>\n", escape(strings.Join(files, ", ")), l.Lines, broken)
	for i := range sections {
		sections[i].write(&b)
	}
	b.WriteString("</body>\n</html>\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// escape makes text of the log safe between tags and in quoted attributes. html/template would
// add three megabytes to the program.
func escape(s string) string { return html.EscapeString(s) }

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05.000") }

// write writes a section of the page.
func (s *section) write(b *strings.Builder) {
	fmt.Fprintf(b, "<section>\n<h2>Datapath %s</h2>\n<p>%s to %s</p>\n<div class=\"facts\">\n", escape(s.Name),
		stamp(s.From), stamp(s.To))
	for _, f := range []struct {
		figure any
		text   string
	}{
		{s.Hit, "packets matched a flow"}, {s.Missed, "matched none: upcalls"}, {s.Upcalls, "upcalls received"},
		{s.Lost, "upcalls lost in the kernel"}, {s.Longest.Round(time.Millisecond), "longest batch"},
	} {
		fmt.Fprintf(b, "<p><b>%v</b> %s</p>\n", f.figure, f.text)
	}
	b.WriteString("</div>\n<p class=\"key\"><span><b></b>a change of state</span><span><b class=\"warn\"></b>a " +
		"warning</span>" +
		"<span><b class=\"error\"></b>an error</span><span>Point at a mark to read its events.</span></p>\n")
	for _, p := range s.Plots {
		fmt.Fprintf(b, "<figure>\n<h3>%s</h3>\n<p>%s</p>\n%s\n</figure>\n", p.title, p.text, p.svg)
	}
	b.WriteString("<h3>Events</h3>\n<p>The marks of the plots. docs/LOGS.md and docs/RUNBOOK.md explain them.</p>\n")
	routine := 0
	b.WriteString("<table>\n")
	for i := range s.Marks {
		if s.Marks[i].Routine {
			routine++
		} else {
			s.Marks[i].write(b)
		}
	}
	b.WriteString("</table>\n")
	if routine > 0 {
		fmt.Fprintf(b, "<details>\n<summary>%d routine events, not in the plots</summary>\n<table>\n", routine)
		for i := range s.Marks {
			if s.Marks[i].Routine {
				s.Marks[i].write(b)
			}
		}
		b.WriteString("</table>\n</details>\n")
	}
	if s.Unshown > 0 {
		fmt.Fprintf(b, "<p>%d more events are not shown.</p>\n", s.Unshown)
	}
	b.WriteString("</section>\n")
}

// write writes a row of the table of events.
func (m *Mark) write(b *strings.Builder) {
	fmt.Fprintf(b, `<tr class="%s"><td>%s</td><td>%s</td><td class="event">%s</td><td class="details">%s</td></tr>`+"\n",
		class(m.Level), stamp(m.Time), escape(m.Level), escape(m.Event), escape(m.Details))
}

// class is the style of an event's level.
func class(level string) string {
	switch level {
	case "WARN":
		return "warn"
	case "ERROR":
		return "error"
	}
	return "plain"
}

// newSection plots a datapath. Events of the daemon without a datapath are marked too.
func newSection(d, daemon *Datapath) section {
	// Files may have been given in any order.
	slices.SortStableFunc(d.Samples, func(a, b Sample) int { return a.Time.Compare(b.Time) })
	first, last := d.Samples[0], d.Samples[len(d.Samples)-1]
	s := section{Datapath: d, From: first.Time.Add(-first.Interval), To: last.Time}
	marks := slices.Clone(d.Marks)
	if daemon != nil && daemon != d {
		marks = append(marks, daemon.Marks...)
	}
	slices.SortStableFunc(marks, func(a, b Mark) int { return a.Time.Compare(b.Time) })
	d.Marks = marks
	for _, m := range marks {
		if m.Time.Before(s.From) {
			s.From = m.Time
		}
		if m.Time.After(s.To) {
			s.To = m.Time
		}
	}
	if !s.To.After(s.From) {
		s.To = s.From.Add(time.Second)
	}
	for _, p := range d.Samples {
		s.Hit, s.Missed, s.Lost, s.Upcalls = s.Hit+p.Hit, s.Missed+p.Missed, s.Lost+p.Lost, s.Upcalls+p.Upcalls
		s.Longest = max(s.Longest, p.Longest)
	}
	line := func(name, colour string, of func(Sample) (float64, bool)) curve {
		c := curve{name: name, colour: colour}
		apart := false
		for i, p := range d.Samples {
			// A run ended in between, or lines are missing.
			apart = apart || p.First || i > 0 && p.Time.Sub(d.Samples[i-1].Time) > 2*p.Interval+time.Second
			if v, ok := of(p); ok {
				c.points = append(c.points, point{p.Time, v, apart})
				apart = false
			}
		}
		return c
	}
	rate := func(of func(Sample) uint64) func(Sample) (float64, bool) {
		return func(p Sample) (float64, bool) { return float64(of(p)) / p.Interval.Seconds(), p.Interval > 0 }
	}
	count := func(of func(Sample) uint64) func(Sample) (float64, bool) {
		return func(p Sample) (float64, bool) { return float64(of(p)), true }
	}
	add := func(title, text, unit string, high float64, curves ...curve) {
		p := plot{title: title, unit: unit, from: s.From, to: s.To, top: high, curves: curves, marks: marks}
		s.Plots = append(s.Plots, titled{title, text, p.draw()})
	}
	add("Upcalls", "Packets that matched no flow (missed), and those that the daemon received (upcalls).", "a second", 0,
		line("missed", orange, rate(func(p Sample) uint64 { return p.Missed })),
		line("upcalls", blue, rate(func(p Sample) uint64 { return p.Upcalls })))
	add("Throughput", "Packets that the kernel looked up, whether a flow matched or not.", "packets a second", 0,
		line("packets", purple, rate(func(p Sample) uint64 { return p.Hit + p.Missed })))
	add("Hit ratio", "Share of packets that matched a flow.", "%", 100,
		line("hit ratio", green, func(p Sample) (float64, bool) {
			all := p.Hit + p.Missed
			return 100 * float64(p.Hit) / float64(max(all, 1)), all > 0
		}))
	var losses []curve
	for _, c := range d.Causes() {
		colour := causeColours[c.Name]
		if colour == "" {
			colour = black
		}
		bars := curve{name: c.Name, colour: colour, bars: true}
		for _, x := range c.Losses {
			bars.points = append(bars.points, point{at: x.Time, y: float64(x.N)})
		}
		losses = append(losses, bars)
	}
	if losses == nil {
		losses = []curve{line("lost", vermilion, count(func(p Sample) uint64 { return p.Lost }))}
	}
	add("Loss", "Lost packets by cause (upcalls_lost).", "packets", 0, losses...)
	add("Latency", "Time from receipt of a batch of upcalls until its answers were sent; upper bound of the p99 of "+
		"upcalls.",
		"ms", 0,
		line("p99 of upcalls", vermilion, func(p Sample) (float64, bool) { return p.P99.Seconds() * 1e3, p.P99 > 0 }),
		line("longest batch", sky, func(p Sample) (float64, bool) { return p.Longest.Seconds() * 1e3, p.Batches > 0 }),
		line("mean batch", blue, func(p Sample) (float64, bool) {
			return p.Busy.Seconds() * 1e3 / float64(max(p.Batches, 1)), p.Batches > 0
		}))
	flows := []curve{line("flows", blue, count(func(p Sample) uint64 { return p.Flows }))}
	limit := line("limit", vermilion, count(func(p Sample) uint64 { return p.Limit }))
	// A limit that is far above would press the flows against the axis.
	far := plot{curves: flows}
	if peak := (&plot{curves: []curve{limit}}).peak(); peak <= 4*far.peak() {
		flows = append(flows, limit)
	}
	add("Flows", "Flows in the kernel, and their limit if it is near.", "flows", 0, flows...)
	if ports := d.Busiest(); len(ports) > 0 {
		add("Received by port", "Traffic received on the busiest ports (port_stats, with log.level debug).",
			"bits a second", 0,
			portCurves(ports, func(p PortSample) uint64 { return 8 * p.RxBytes })...)
		add("Sent by port", "Traffic sent on the busiest ports.", "bits a second", 0,
			portCurves(ports, func(p PortSample) uint64 { return 8 * p.TxBytes })...)
		add("Upcalls by port", "Upcalls of the busiest ports.", "a second", 0,
			portCurves(ports, func(p PortSample) uint64 { return p.Upcalls })...)
	}
	return s
}
