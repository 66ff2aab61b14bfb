//go:build lab

package lab

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

// tracing is where init.sh has debugfs, and that has tracefs.
const tracing = "/sys/kernel/debug/tracing"

// Trace is a buffer of the kernel's tracing (Documentation/trace/ftrace.rst, Linux 6.1).
type Trace struct {
	dir    string
	probes []string
}

// TraceEvent is one line of a trace.
type TraceEvent struct {
	Thread int           // that ran when it happened
	At     time.Duration // CLOCK_MONOTONIC
	Name   string
	Text   string // its fields
}

// StartTrace traces events, written as GROUP/NAME with a filter or "" for each, until Stop is
// called. Probes are definitions for kprobe_events, "p:GROUP/NAME FUNCTION FIELD=ARGUMENT ...",
// of events that may be among them. The buffer goes when the test ends. The error says what the
// kernel lacks.
func StartTrace(t testing.TB, probes []string, events map[string]string) (*Trace, error) {
	t.Helper()
	r := &Trace{dir: filepath.Join(tracing, "instances", Name("trace"))}
	if err := os.Mkdir(r.dir, 0o755); err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		err := os.Remove(r.dir)
		for _, name := range r.probes {
			err = errors.Join(err, control(tracing, "kprobe_events", "-:"+name))
		}
		if err != nil {
			t.Errorf("trace: %v", err)
		}
	})
	for _, p := range probes {
		if err := control(tracing, "kprobe_events", p); err != nil {
			return nil, err
		}
		name, _, _ := strings.Cut(strings.TrimPrefix(p, "p:"), " ")
		r.probes = append(r.probes, name)
	}
	err := control(r.dir, "trace_clock", "mono")
	for event, filter := range events {
		dir := filepath.Join(r.dir, "events", event)
		if filter != "" {
			err = errors.Join(err, control(dir, "filter", filter))
		}
		err = errors.Join(err, control(dir, "enable", "1"))
	}
	return r, err
}

// control writes to a file of tracing. The kernel takes what one call writes.
func control(dir, name, text string) error {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// traceLine is a line of the file trace: command, thread, CPU, flags, time, event and fields.
var traceLine = regexp.MustCompile(`(?m)^.{16}-(\d+) .*? (\d+)\.(\d{6}): (\w+): (.*)$`)

// Stop ends the trace and returns its events, in the order of their times.
func (r *Trace) Stop(t testing.TB) []TraceEvent {
	t.Helper()
	if err := control(r.dir, "tracing_on", "0"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "trace"))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "LOST") {
		t.Fatal("the trace lost events")
	}
	var all []TraceEvent
	for _, m := range traceLine.FindAllStringSubmatch(string(text), -1) {
		thread, err := strconv.Atoi(m[1])
		at, err2 := strconv.ParseInt(m[2]+m[3], 10, 64)
		if err := errors.Join(err, err2); err != nil {
			t.Fatalf("trace: %s: %v", m[0], err)
		}
		all = append(all, TraceEvent{Thread: thread, At: time.Duration(at) * time.Microsecond, Name: m[4], Text: m[5]})
	}
	return all
}
