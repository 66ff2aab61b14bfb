package daemon

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/console"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/metric"
	"dpifd/internal/reconciler"
	"dpifd/internal/revalidator"
	"dpifd/internal/totals"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
	"dpifd/internal/vswitch"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var update = flag.Bool("update", false, "write the generated parts of docs/LOGS.md and docs/RUNBOOK.md")

const (
	logsFile    = "../../docs/LOGS.md"
	runbookFile = "../../docs/RUNBOOK.md"
)

// eventTable is the table of all events in docs/LOGS.md.
func eventTable() string {
	var b strings.Builder
	b.WriteString("| event | level | fields | when | what to do |\n|---|---|---|---|---|\n")
	for _, k := range event.Kinds() {
		var fields []string
		for _, f := range k.Fields() {
			fields = append(fields, "`"+f.Name+"`")
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", k.Name, k.Level, strings.Join(fields, " "), k.Meaning, advice(k))
	}
	return b.String()
}

func advice(k *event.Kind) string {
	if k.Advice == "" {
		return "Nothing."
	}
	return k.Advice
}

// fieldTable is the table of all fields in docs/LOGS.md.
func fieldTable(t *testing.T) string {
	t.Helper()
	meanings, err := event.Meanings()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("| field | meaning |\n|---|---|\n")
	for _, name := range slices.Sorted(maps.Keys(meanings)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", name, meanings[name])
	}
	return b.String()
}

// runbookTable lists the events that have an entry in docs/RUNBOOK.md.
func runbookTable() string {
	var b strings.Builder
	b.WriteString("| event | level | what to do |\n|---|---|---|\n")
	for _, k := range event.Kinds() {
		if k.Level >= event.Warn {
			fmt.Fprintf(&b, "| [%s](#%s) | %s | %s |\n", k.Name, k.Name, k.Level, k.Advice)
		}
	}
	return b.String()
}

// generated compares the part of a file between two markers with want, or rewrites it.
func generated(t *testing.T, file, name, want string) {
	t.Helper()
	page, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	begin, end := "<!-- "+name+": begin -->\n", "<!-- "+name+": end -->\n"
	head, rest, ok := strings.Cut(string(page), begin)
	got, tail, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		t.Fatalf("%s has no markers %q and %q", file, begin, end)
	}
	if *update {
		if err := os.WriteFile(file, []byte(head+begin+want+end+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(got, want); diff != "" {
		t.Errorf("%s, %s: differs from the code; `go test ./internal/daemon -run Docs -update` updates it (-file "+
			"+code):\n%s", file, name, diff)
	}
}

// metricTable is the table of metrics in docs/MONITORING.md.
func metricTable() string {
	var b strings.Builder
	b.WriteString("| metric | type | of each | what it is |\n|---|---|---|---|\n")
	row := func(infos []metric.Info, prefix, of string) {
		for _, i := range infos {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", i.Prometheus(prefix), i.Kind, of, i.Help)
		}
	}
	row(totals.Table.Infos(), totals.Prefix, "datapath")
	row(vswitch.PortStatsMetrics.Infos(), totals.PortPrefix, "port")
	return b.String()
}

func TestDocsListTheMetrics(t *testing.T) {
	generated(t, "../../docs/MONITORING.md", "metrics", metricTable())
}

func TestDocsListTheEvents(t *testing.T) {
	generated(t, logsFile, "events", eventTable())
	generated(t, logsFile, "fields", fieldTable(t))
	generated(t, runbookFile, "events", runbookTable())
}

func logConfig(format config.LogFormat, level config.Level) *config.Config {
	cfg := &config.Config{}
	cfg.Datapath.Name, cfg.Log.Format, cfg.Log.Level = `br "7"`, format, level
	return cfg
}

func TestLoggerFormats(t *testing.T) {
	for _, tc := range []struct {
		format config.LogFormat
		check  func(t *testing.T, line string)
	}{
		{config.FormatJSON, func(t *testing.T, line string) {
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); err != nil {
				t.Fatal(err)
			}
			if m["event"] != "notifier_overflow" || m["level"] != "WARN" || m["source"] != "link" || m["schema"] != 2.0 ||
				m["datapath"] != "br \"7\"" || m["ts"] == nil {
				t.Errorf("got %v", m)
			}
		}},
		{config.FormatConsole, func(t *testing.T, line string) {
			if !regexp.MustCompile(`^\d\d:\d\d:\d\d\.\d{3} WARN  notifier_overflow datapath="br \\"7\\"" ` +
				`source=link\n$`).MatchString(line) {
				t.Errorf("got %q", line)
			}
		}},
	} {
		t.Run(string(tc.format), func(t *testing.T) {
			var b bytes.Buffer
			log, err := newLogger(&b, logConfig(tc.format, config.LevelWarn), false)
			if err != nil {
				t.Fatal(err)
			}
			log.emit(vswitch.NotifierOverflow{Source: "link"})
			log.emit(evFlowsFlushed{})
			if n := strings.Count(b.String(), "\n"); n != 1 {
				t.Fatalf("%d lines, want 1: %q", n, b.String())
			}
			tc.check(t, b.String())
			if log.enabled(event.Info) || !log.enabled(event.Warn) {
				t.Error("enabled does not follow the level")
			}
		})
	}
}

// TestConsole: only terminals get colours and values of several lines, and stats is short.
func TestConsole(t *testing.T) {
	line := func(terminal bool, e event.Event) string {
		var out bytes.Buffer
		core := zapcore.NewCore(console.NewFor(terminal), zapcore.AddSync(&out), zapcore.DebugLevel)
		l := &logger{zap: zap.New(core), datapath: zap.String("datapath", "dp0")}
		l.emit(e)
		_, text, _ := strings.Cut(out.String(), " ") // without the time
		return text
	}
	failed := evFailed{Err: errors.New("a.yaml:1:2: wrong\n> 1 | x")}
	stats := evStats{Interval: 2 * time.Second, now: totals.Table.Read(&totals.Reading{Uptime: 7 * time.Second,
		Kernel: dpif.DatapathStats{Hit: 900, Missed: 50}, Ports: upcall.PortCounters{SocketDrops: 3, Upcalls: 5},
		Served: vswitch.Stats{FlowLimit: 10000}}),
		was: totals.Table.Read(&totals.Reading{Kernel: dpif.DatapathStats{Hit: 870, Missed: 40},
			Ports: upcall.PortCounters{Upcalls: 5}})}
	for _, tc := range []struct {
		terminal bool
		e        event.Event
		want     string
	}{
		{false, failed, `ERROR failed datapath=dp0 error="a.yaml:1:2: wrong\n> 1 | x"` + "\n"},
		{true, failed, "\x1b[31;1mERROR\x1b[0m \x1b[1mfailed\x1b[0m datapath=dp0\n    a.yaml:1:2: wrong\n    > 1 | x\n"},
		{false, evReloaded{Config: "c.yaml", Changed: []string{"ports", "log"}}, "INFO  reloaded config=c.yaml changed=ports,log\n"},
		{false, evStopped{}, "INFO  stopped datapath=dp0 uptime_s=0 upcalls=0 executed=0 flows_put=0 lost=0\n"},
		{false, stats, "INFO  stats hit=15/s missed=5/s flows=0 socket_drops=3 ports=0 flow_limit=10000 macs=0 hit_ratio=75.0%\n"},
	} {
		if got := line(tc.terminal, tc.e); got != tc.want {
			t.Errorf("%T: got %q, want %q", tc.e, got, tc.want)
		}
	}
}

// TestPriorities: without the priority that journald strips, a line is unchanged.
func TestPriorities(t *testing.T) {
	for _, format := range []config.LogFormat{config.FormatJSON, config.FormatConsole} {
		var b bytes.Buffer
		log, err := newLogger(&b, logConfig(format, config.LevelDebug), true)
		if err != nil {
			t.Fatal(err)
		}
		for _, tc := range []struct {
			e        event.Event
			priority string
		}{
			{evUpcall{Decision: "a\nb <1>"}, "<7>"},
			{evStopping{Reason: "a\nb <1>"}, "<6>"},
			{vswitch.NotifierOverflow{Source: "a\nb <1>"}, "<4>"},
			{evFailed{Err: errors.New("a\nb <1>")}, "<3>"},
		} {
			b.Reset()
			log.emit(tc.e)
			name := event.KindOf(tc.e).Name
			line, ok := strings.CutPrefix(b.String(), tc.priority)
			if !ok || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s, %s: %q", format, name, b.String())
			}
			var m map[string]any
			if format != config.FormatJSON {
				continue
			}
			if err := json.Unmarshal([]byte(line), &m); err != nil || m["event"] != name ||
				!slices.Contains(slices.Collect(maps.Values(m)), any("a\nb <1>")) {
				t.Errorf("%s: %v in %q", name, err, line)
			}
		}
	}
}

// TestFields: each declared field is printed whatever its value, in the order of the declaration
// and in the unit of its name.
func TestFields(t *testing.T) {
	var b bytes.Buffer
	log, err := newLogger(&b, logConfig(config.FormatJSON, config.LevelDebug), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		e    event.Event
		want string
	}{
		{evFailed{}, `"datapath":"br \"7\"","error":""`},
		{evStopped{Uptime: 2900 * time.Millisecond, Lost: 1 << 63}, `"datapath":"br \"7\"","uptime_s":2,"upcalls":0,"executed":0,"flows_put":0,"lost":9223372036854775808`},
		{revalidator.CycleFailed{Err: errors.New("x"), At: 1999 * time.Microsecond}, `"datapath":"br \"7\"","error":"x","after_ms":1`},
		{reconciler.UpcallPIDRestored{Name: "p", No: 3, Found: []uint32{1, 2}}, `"datapath":"br \"7\"","port":"p","port_no":3,"found_pids":[1,2],"upcall_pid":0,"held_back":0`},
		{transport.DispatchSelected{Dispatch: dpif.DispatchPerCPU}, `"datapath":"br \"7\"","dispatch":"per-cpu","reason":"","cpus":"","upcall_pids":[],"rcvbuf_bytes":0`},
		{reconciler.PortAdded{Handler: -1, Created: true}, `"datapath":"br \"7\"","port":"","port_no":0,"type":"none","handler":-1,"upcall_pid":0,"created":true`},
		{evReloadIgnored{Keys: []string{"a"}}, `"config":"","keys":["a"]`},
	} {
		b.Reset()
		log.emit(tc.e)
		_, got, _ := strings.Cut(b.String(), fmt.Sprintf(`"schema":%d,`, schemaVersion))
		if got != tc.want+"}\n" {
			t.Errorf("%T: got %q, want %q", tc.e, got, tc.want)
		}
	}
}
