// Package console encodes events for people: each zapcore entry becomes one line of text.
package console

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"go.uber.org/zap/buffer"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sys/unix"
)

// console encodes events for people: time, level, event, then KEY=VALUE. It leaves out empty
// fields and the fields that every event has, for example the schema.
type console struct {
	zapcore.ObjectEncoder      // receives the fields of all events, which are not printed
	terminal              bool // a value of several lines is printed as it is
	colour                bool
}

// New returns an encoder for output to w.
func New(w io.Writer) zapcore.Encoder { return NewFor(onTerminal(w)) }

// NewFor returns an encoder for a terminal or a file. NO_COLOR
// (https://no-color.org) in the environment turns colours off.
func NewFor(terminal bool) zapcore.Encoder {
	return console{zapcore.NewMapObjectEncoder(), terminal, terminal && os.Getenv("NO_COLOR") == ""}
}

// onTerminal reports whether w is a terminal.
func onTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}

// consoleTime is local time, in milliseconds.
const consoleTime = "15:04:05.000"

var linePool = buffer.NewPool()

// SGR sequences of ECMA-48.
const (
	bold, plain = "\x1b[1m", "\x1b[0m"
)

var levelColours = map[zapcore.Level]string{
	zapcore.DebugLevel: "\x1b[2m", zapcore.InfoLevel: "\x1b[32m",
	zapcore.WarnLevel: "\x1b[33m", zapcore.ErrorLevel: "\x1b[31;1m",
}

// Clone implements zapcore.Encoder.
func (c console) Clone() zapcore.Encoder { return NewFor(c.terminal) }

// EncodeEntry implements zapcore.Encoder.
func (c console) EncodeEntry(e zapcore.Entry, fields []zapcore.Field) (*buffer.Buffer, error) {
	out := linePool.Get()
	level, name := e.Level.CapitalString(), e.Message
	if c.colour {
		level, name = levelColours[e.Level]+level+plain+strings.Repeat(" ", 5-len(level)), bold+name+plain
	}
	fmt.Fprintf(out, "%s %-5s %s", e.Time.Local().Format(consoleTime), level, name)
	values := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(values)
	}
	if e.Message == "stats" {
		appendStats(out, fields, values.Fields)
		out.AppendByte('\n')
		return out, nil
	}
	var long []string // values of several lines, printed below
	for _, f := range fields {
		text := consoleValue(values.Fields[f.Key])
		switch {
		case text == "":
		case c.terminal && strings.Contains(text, "\n"):
			long = append(long, text)
		default:
			fmt.Fprintf(out, " %s=%s", f.Key, quoted(text))
		}
	}
	out.AppendByte('\n')
	for _, text := range long {
		for line := range strings.Lines(strings.TrimSuffix(text, "\n") + "\n") {
			out.AppendString("    " + line)
		}
	}
	return out, nil
}

// consoleValue returns a value as text, "" for what is empty.
func consoleValue(v any) string {
	list, ok := v.([]any)
	if !ok {
		return fmt.Sprint(v)
	}
	words := make([]string, len(list))
	for i, w := range list {
		words[i] = fmt.Sprint(w)
	}
	return strings.Join(words, ",")
}

// quoted quotes text that has blanks, quotes or characters that do not print.
func quoted(text string) string {
	if strings.ContainsFunc(text, func(r rune) bool { return r == '"' || unicode.IsSpace(r) || !unicode.IsPrint(r) }) {
		return strconv.Quote(text)
	}
	return text
}

// statsGauges are the fields of event stats that are printed as they are, zero
// or not.
var statsGauges = []string{"ports", "flows", "flow_limit", "macs"}

// statsTrouble ends the names of totals that are printed when they are not zero.
var statsTrouble = []string{
	"_refused", "_errors", "_drops", "_over_limit", "_evicted", "overflows", "overruns", "shed", "aborted",
	"truncated", "malformed", "features_restored", "upcall_pids_restored",
}

// appendStats appends the part of event stats that is useful to people: rates of the
// interval, current sizes, and totals of problems. The JSON log has all fields.
func appendStats(out *buffer.Buffer, fields []zapcore.Field, values map[string]any) {
	ms := counter(values["interval_ms"])
	for _, f := range fields {
		v := values[f.Key]
		name, isDelta := strings.CutSuffix(f.Key, "_delta")
		switch {
		case isDelta && counter(v) != 0 && ms > 0:
			fmt.Fprintf(out, " %s=%s/s", name, strconv.FormatFloat(counter(v)*1000/ms, 'g', 3, 64))
		case slices.Contains(statsGauges, f.Key):
			fmt.Fprintf(out, " %s=%v", f.Key, v)
		case counter(v) != 0 && isTrouble(f.Key):
			fmt.Fprintf(out, " %s=%v", f.Key, v)
		}
	}
	if hit, missed := counter(values["hit_delta"]), counter(values["missed_delta"]); hit+missed > 0 {
		fmt.Fprintf(out, " hit_ratio=%.1f%%", 100*hit/(hit+missed))
	}
}

// isTrouble reports whether a total counts a problem.
func isTrouble(name string) bool {
	return slices.ContainsFunc(statsTrouble, func(end string) bool { return strings.HasSuffix(name, end) })
}

// counter returns the value of a counter, or 0 if v is not a counter.
func counter(v any) float64 {
	switch n := v.(type) {
	case int64:
		return float64(n)
	case uint64:
		return float64(n)
	case int:
		return float64(n)
	case uint32:
		return float64(n)
	}
	return 0
}
