package report

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
)

// sample is the log of an eventful run on a real datapath, written by make sample-log.
const sample = "../../deploy/mtail/testdata/dpifd.log"

func read(t *testing.T, logs ...string) *Log {
	t.Helper()
	l := &Log{}
	for i, text := range logs {
		if err := l.Read(strings.NewReader(text)); err != nil {
			t.Fatalf("log %d: %v", i, err)
		}
	}
	return l
}

func render(t *testing.T, l *Log) string {
	t.Helper()
	var b bytes.Buffer
	if err := l.Write(&b, []string{"dpifd.log"}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sampleText(t *testing.T) string {
	t.Helper()
	data, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// sums computes totals of a log independently of the package.
func sums(t *testing.T, text string) (events int, hit, missed, upcalls, lost, caused int64) {
	t.Helper()
	for line := range strings.Lines(text) {
		var e map[string]any
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		events++
		n := func(field string) int64 { v, _ := e[field].(float64); return int64(v) }
		switch e["event"] {
		case "stats":
			hit, missed, upcalls, lost = hit+n("hit_delta"), missed+n("missed_delta"), upcalls+n("upcalls_delta"),
				lost+n("lost_delta")
		case "upcalls_lost":
			caused += n("lost")
		}
	}
	return
}

// TestFiguresMatchLog compares the page with the log of two runs.
func TestFiguresMatchLog(t *testing.T) {
	text := sampleText(t)
	events, hit, missed, upcalls, lost, caused := sums(t, text)
	if caused == 0 || hit == 0 || strings.Count(text, `"event":"starting"`) != 2 {
		t.Fatal("the sample is not eventful; make sample-log creates a new one")
	}
	l := read(t, text)
	if l.Lines != events || l.Broken != 0 {
		t.Errorf("%d events and %d broken lines, want %d and 0", l.Lines, l.Broken, events)
	}
	html := render(t, l)
	for _, want := range []string{
		fmt.Sprintf("<b>%d</b> packets matched a flow", hit),
		fmt.Sprintf("<b>%d</b> matched none: upcalls", missed),
		fmt.Sprintf("<b>%d</b> upcalls received", upcalls),
		fmt.Sprintf("<b>%d</b> upcalls lost", lost),
	} {
		if !strings.Contains(html, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	var total uint64
	for _, d := range l.Datapaths {
		for _, c := range d.Causes() {
			total += c.Total
		}
	}
	if total != uint64(caused) {
		t.Errorf("%d packets by cause, want %d", total, caused)
	}
	if got := strings.Count(html, "<svg "); got != 9 {
		t.Errorf("%d plots, want 9", got)
	}
	for _, event := range []string{"reload_failed", "features_restored", "flow_limit_reached", "port_removed",
		"starting"} {
		got := strings.Count(html, `<td class="event">`+event+"</td>")
		if want := strings.Count(text, `"event":"`+event+`"`); got != want || want == 0 {
			t.Errorf("%s is listed %d times, want %d", event, got, want)
		}
	}
}

// TestSelfContained: the page needs no network, and does not contact any host.
func TestSelfContained(t *testing.T) {
	html := render(t, read(t, sampleText(t)))
	outside := regexp.MustCompile(`(?i)(https?:|//[a-z]|src=|href=|@import|url\(|<script|<iframe|<link)`)
	if m := outside.FindString(html); m != "" {
		t.Errorf("the page has %q", m)
	}
}

func statsLine(at time.Time, dp string, upcalls, flows int) string {
	return fmt.Sprintf(`{"level":"INFO","ts":%q,"event":"stats","datapath":%q,"interval_ms":1000,`+
		`"hit_delta":5,"missed_delta":%d,"upcalls":%d,"upcalls_delta":%d,"flows":%d,"flow_limit":100,`+
		`"batches":%d,"batch_us":%d,"batch_max_us":700,"upcall_us_p99":900}`+"\n",
		at.Format(time.RFC3339Nano), dp, upcalls, upcalls, upcalls, flows, upcalls, 100*upcalls)
}

var start = time.Date(2026, 11, 22, 20, 0, 0, 0, time.UTC)

func TestHostileText(t *testing.T) {
	name := `<script>alert(1)</script>"'&`
	quoted, err := json.Marshal(name)
	if err != nil {
		t.Fatal(err)
	}
	log := strings.ReplaceAll(statsLine(start, "DP", 1, 1), `"DP"`, string(quoted)) +
		fmt.Sprintf(`{"level":"WARN","ts":"2026-11-22T20:00:01Z","event":"upcalls_lost","datapath":%s,"cause":%s,"lost":3}`,
			quoted, quoted) + "\n" +
		fmt.Sprintf(`{"level":"WARN","ts":"2026-11-22T20:00:01Z","event":"port_waiting","datapath":%s,"port":%s}`, quoted,
			quoted) + "\n"
	if html := render(t, read(t, log)); strings.Contains(html, "<script") {
		t.Errorf("a name is not escaped in the page:\n%s", html)
	}
}

func TestOtherLines(t *testing.T) {
	good := statsLine(start, "dp0", 4, 9)
	l := read(t, "panic: runtime error\n\n{\"level\":\n"+good+
		`{"level":"INFO","event":"stats"}`+"\n"+ // without a time
		strings.Repeat("x", maxLine+10)+"\n"+
		"[1,2]\nnull\n"+
		`{"level":"INFO","ts":"2026-11-22T20:00:00Z","event":"stats","datapath":"dp0","hit_delta":-1}`+"\n"+
		"<6>"+good+
		"Nov 22 20:00:00 host dpifd[77]: "+strings.TrimSuffix(good, "\n")) // no newline at the end
	if l.Lines != 3 || l.Broken != 7 {
		t.Errorf("%d events and %d broken lines, want 3 and 7", l.Lines, l.Broken)
	}
	if html := render(t, l); !strings.Contains(html, "7 other lines") {
		t.Error("the page does not mention the broken lines")
	}
}

func TestErrors(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		want       error
	}{
		{"console", "20:00:00.123 INFO  starting pid=3\n20:00:01.000 WARN  port_waiting\n", ErrConsole},
		{"empty", "", ErrNoEvents},
		{"other", "hello\nworld {\n", ErrNoEvents},
		{"cut gzip", "\x1f\x8b\x08\x00", io.ErrUnexpectedEOF},
	} {
		if err := new(Log).Read(strings.NewReader(tt.text)); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", tt.name, err, tt.want)
		}
	}
	l := read(t, `{"level":"INFO","ts":"2026-11-22T20:00:00Z","event":"starting"}`)
	if err := l.Write(io.Discard, nil); !errors.Is(err, ErrNoStats) {
		t.Errorf("without stats: %v", err)
	}
}

// TestRotation reads a log in parts, the newest first and the others compressed.
func TestRotation(t *testing.T) {
	var parts []string
	for i := range 3 {
		var b strings.Builder
		for j := range 10 {
			n := 10*i + j
			b.WriteString(statsLine(start.Add(time.Duration(n)*time.Second), "dp0", n, n))
		}
		parts = append(parts, b.String())
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := z.Write([]byte(parts[0])); err != nil || z.Close() != nil {
		t.Fatal(err)
	}
	l := read(t, parts[2], parts[1], zipped.String())
	render(t, l)
	d := l.Datapaths[0]
	if len(d.Samples) != 30 {
		t.Fatalf("%d samples", len(d.Samples))
	}
	for i, s := range d.Samples {
		if s.Flows != uint64(i) {
			t.Fatalf("sample %d has %d flows: not in order", i, s.Flows)
		}
	}
}

// TestThinning: a long log needs bounded memory, and sums and peaks are preserved.
func TestThinning(t *testing.T) {
	const lines = 9 * maxSamples
	l := &Log{}
	var want uint64
	for i := range lines {
		want += uint64(i % 7)
		flows := 10
		if i == 12345 {
			flows = 99
		}
		if !l.add([]byte(statsLine(start.Add(time.Duration(i)*time.Second), "dp0", i%7, flows))) {
			t.Fatal("a line is rejected")
		}
	}
	d := l.Datapaths[0]
	var got, peak uint64
	var spanned time.Duration
	for _, s := range d.Samples {
		got, peak, spanned = got+s.Upcalls, max(peak, s.Flows), spanned+s.Interval
	}
	if len(d.Samples) > 2*maxSamples || got != want || peak != 99 || spanned != lines*time.Second {
		t.Errorf("%d samples, %d upcalls, peak %d, %v; want at most %d, %d, 99, %v", len(d.Samples), got, peak, spanned,
			2*maxSamples, want, lines*time.Second)
	}
	if p99 := d.Samples[0].P99; p99 != 900*time.Microsecond {
		t.Errorf("p99 of upcalls: %v, want 900µs", p99)
	}
	for range 3 * maxMarks {
		d.mark(&event{TS: start, Level: "INFO", Event: "port_added"}, []byte("{}"))
		d.mark(&event{TS: start, Level: "WARN", Event: "port_waiting"}, []byte("{}"))
	}
	if want := 6*maxMarks - maxMarks - maxRoutine; len(d.Marks) != maxMarks+maxRoutine || d.Unshown != want {
		t.Errorf("%d events kept, %d not, want %d and %d", len(d.Marks), d.Unshown, maxMarks+maxRoutine, want)
	}
	// All have the same time, so each plot has one mark for them.
	if html := render(t, l); strings.Count(html, `class="mark `) != strings.Count(html, "<svg ") ||
		strings.Count(html, "and 1992 more") != strings.Count(html, "<svg ") {
		t.Error("the marks are not drawn as one")
	}
}

// TestRunsAreSeparate: no curve spans the time between two runs.
func TestRunsAreSeparate(t *testing.T) {
	var log strings.Builder
	for _, at := range []int{0, 1, 2, 3, 50, 51, 52} { // with a new daemon from 50 s on
		log.WriteString(statsLine(start.Add(time.Duration(at)*time.Second), "dp0", 10+at%50, 5))
		log.WriteString(statsLine(start.Add(time.Duration(at)*time.Second), "dp1", 20+at, 5))
	}
	l := read(t, log.String())
	html := render(t, l)
	if len(l.Datapaths) != 2 || strings.Count(html, "<h2>") != 2 {
		t.Errorf("%d datapaths", len(l.Datapaths))
	}
	for _, m := range regexp.MustCompile(`class="curve"[^>]* d="([^"]+)"`).FindAllStringSubmatch(html, -1) {
		// dp0 restarts at 50 s, dp1 continues; the time between is unknown.
		if got := strings.Count(m[1], "M"); got != 2 {
			t.Errorf("a curve has %d pieces, want 2: %s", got, m[1])
		}
	}
}

func FuzzRead(f *testing.F) {
	text, err := os.ReadFile(sample)
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(text) {
		f.Add(line)
	}
	f.Add([]byte("2026-11-22T20:00:00Z\tINFO\tready\t{}\n"))
	f.Add([]byte("\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03"))
	f.Fuzz(func(t *testing.T, data []byte) {
		l := &Log{}
		if err := l.Read(bytes.NewReader(data)); err != nil {
			return
		}
		var b bytes.Buffer
		if err := l.Write(&b, []string{"x"}); err != nil && !errors.Is(err, ErrNoStats) {
			t.Fatal(err)
		}
		if strings.Contains(b.String(), "NaN") || strings.Contains(b.String(), "Inf ") {
			t.Errorf("the page has a coordinate that is no number")
		}
	})
}

// TestPorts: rates by port are computed from two port_stats events, also after a counter reset, and
// starting names the host.
func TestPorts(t *testing.T) {
	var log strings.Builder
	log.WriteString(`{"level":"INFO","ts":"2026-11-22T20:00:00Z","event":"starting","host":"node7"}` + "\n")
	for i, rx := range []int{0, 1000, 4000, 500, 1500} {
		at := start.Add(time.Duration(i) * time.Second)
		log.WriteString(statsLine(at, "dp0", i, i))
		fmt.Fprintf(&log,
			`{"level":"DEBUG","ts":%q,"event":"port_stats","datapath":"dp0","port":"eth1","rx_bytes":%d,"tx_bytes":7}`+"\n",
			at.Format(time.RFC3339), rx)
		fmt.Fprintf(&log,
			`{"level":"DEBUG","ts":%q,"event":"port_stats","datapath":"dp0","port":"idle","rx_bytes":0,"tx_bytes":0}`+"\n",
			at.Format(time.RFC3339))
	}
	l := read(t, log.String())
	var got []uint64
	ports := l.byName["dp0"].Busiest()
	if len(ports) != 1 || ports[0].Name != "eth1" {
		t.Fatalf("busiest ports %v", ports)
	}
	for _, s := range ports[0].Samples {
		got = append(got, s.RxBytes)
	}
	if want := []uint64{1000, 3000, 0, 1000}; !slices.Equal(got, want) || !ports[0].Samples[2].First {
		t.Errorf("received %v, want %v and a gap at the third", got, want)
	}
	if html := render(t, l); !strings.Contains(html, "<title>dpifd report: dp0 on node7</title>") ||
		!strings.Contains(html, "<h3>Received by port</h3>") {
		t.Error("the page lacks the host or the plot of ports")
	}
}

// TestManyMarks: all marks are ticks above the curves; only a few also have a line behind the
// curves.
func TestManyMarks(t *testing.T) {
	start := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	for n, lines := range map[int]int{tallMarks: tallMarks, tallMarks + 1: 0} {
		p := plot{from: start, to: start.Add(time.Hour)}
		for i := range n {
			p.marks = append(p.marks, Mark{Time: start.Add(time.Duration(i) * time.Minute), Level: "WARN"})
		}
		svg := p.draw()
		if ticks := strings.Count(svg, `<g class="mark `); ticks != n {
			t.Errorf("%d ticks for %d marks", ticks, n)
		}
		if behind := strings.Count(svg, `class="behind"`); behind != lines {
			t.Errorf("%d of %d marks have a line behind the curves, want %d", behind, n, lines)
		}
	}
}
