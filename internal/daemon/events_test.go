package daemon

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/config"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

var update = flag.Bool("update", false, "write docs/LOGS.md anew")

const (
	logsFile  = "../../docs/LOGS.md"
	logsBegin = "<!-- events: begin -->\n"
	logsEnd   = "<!-- fields: end -->\n"
)

// eventTable renders the declarations as docs/LOGS.md shows them.
func eventTable() string {
	var b strings.Builder
	b.WriteString("| event | level | fields | when | what to do |\n|---|---|---|---|---|\n")
	for _, e := range events {
		fields := make([]string, len(e.fields))
		for i, f := range e.fields {
			fields[i] = "`" + f + "`"
		}
		do := advice[e.name]
		if do == "" {
			do = "Nothing."
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", e.name, e.level.CapitalString(), strings.Join(fields, " "), e.meaning, do)
	}
	b.WriteString("<!-- events: end -->\n\n## Fields\n\nUnits are in the names: `_ms` and `_us` are milliseconds and microseconds, `_s` seconds, `_bytes` bytes;\n" +
		"other numbers are counts. A field of `stats` with `_delta` is what the one without it grew by in the interval.\n\n<!-- fields: begin -->\n| field | meaning |\n|---|---|\n")
	for _, f := range fieldNames() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", f, fieldMeanings[f])
	}
	return b.String()
}

// fieldNames returns the fields of all events but deltas, each once.
func fieldNames() []string {
	var names []string
	for _, e := range events {
		for _, f := range e.fields {
			if base, ok := strings.CutSuffix(f, "_delta"); !ok || !slices.Contains(e.fields, base) {
				names = append(names, f)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// TestEventsExplained holds that each field has a meaning, and each event that
// asks for someone an advice; and that there are no others.
func TestEventsExplained(t *testing.T) {
	known := map[string]bool{}
	for _, e := range events {
		known[e.name] = true
		if e.level >= zapcore.WarnLevel && advice[e.name] == "" {
			t.Errorf("event %s is %s and has no advice (advice.go)", e.name, e.level.CapitalString())
		}
		if do := advice[e.name]; do != "" && !strings.HasSuffix(do, ".") {
			t.Errorf("event %s: its advice is not a sentence: %q", e.name, do)
		}
	}
	for name := range advice {
		if !known[name] {
			t.Errorf("advice for %s, which is no event", name)
		}
	}
	fields := fieldNames()
	for _, f := range fields {
		if fieldMeanings[f] == "" {
			t.Errorf("field %s has no meaning (fields.go)", f)
		}
	}
	for f := range fieldMeanings {
		if !slices.Contains(fields, f) {
			t.Errorf("a meaning for field %s, which no event has", f)
		}
	}
}

func TestLogsFileListsTheEvents(t *testing.T) {
	page, err := os.ReadFile(logsFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(page), logsBegin)
	table, tail, ok2 := strings.Cut(rest, logsEnd)
	if !ok || !ok2 {
		t.Fatalf("%s has no event table between its markers", logsFile)
	}
	if *update {
		page := head + logsBegin + eventTable() + logsEnd + tail
		if err := os.WriteFile(logsFile, []byte(page), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(table, eventTable()); diff != "" {
		t.Errorf("docs/LOGS.md differs from the code; `go test ./internal/daemon -run LogsFile -update` writes it anew (-file +code):\n%s", diff)
	}
}

func TestEventDeclarations(t *testing.T) {
	snake := regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)
	seen := map[string]bool{}
	for _, e := range events {
		if !snake.MatchString(e.name) || seen[e.name] {
			t.Errorf("event %q: not snake_case, or declared twice", e.name)
		}
		seen[e.name] = true
		for i, f := range e.fields {
			if !snake.MatchString(f) || slices.Contains(e.fields[:i], f) {
				t.Errorf("event %s: field %q: not snake_case, or declared twice", e.name, f)
			}
			if slices.Contains([]string{"level", "ts", "event", "schema"}, f) {
				t.Errorf("event %s: field %q is taken", e.name, f)
			}
		}
		if !strings.HasSuffix(e.meaning, ".") {
			t.Errorf("event %s: its meaning is not a sentence: %q", e.name, e.meaning)
		}
	}
}

// source parses the package's files, tests left out.
func source(t *testing.T) (*token.FileSet, []*ast.File) {
	t.Helper()
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	return fset, files
}

// declared maps the variable of each declaration to its event.
func declared(t *testing.T, files []*ast.File) map[string]*event {
	t.Helper()
	byName := map[string]*event{}
	for _, e := range events {
		byName[e.name] = e
	}
	vars := map[string]*event{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			spec, ok := n.(*ast.ValueSpec)
			if !ok || len(spec.Values) != 1 {
				return true
			}
			if call, ok := spec.Values[0].(*ast.CallExpr); ok && callee(call) == "define" {
				vars[spec.Names[0].Name] = byName[literal(t, call.Args[0])]
			}
			return true
		})
	}
	return vars
}

func callee(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

func literal(t *testing.T, e ast.Expr) string {
	t.Helper()
	lit, ok := e.(*ast.BasicLit)
	if !ok {
		t.Fatalf("not a literal: %T", e)
	}
	s, err := strconv.Unquote(lit.Value)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// fieldName returns the name of the field that an argument of emit makes: a
// call of zap with a literal name, or a variable that holds the datapath.
func fieldName(t *testing.T, arg ast.Expr) string {
	t.Helper()
	switch a := arg.(type) {
	case *ast.CallExpr:
		if callee(a) == "Error" {
			return "error"
		}
		return literal(t, a.Args[0])
	case *ast.Ident, *ast.SelectorExpr:
		return "datapath"
	}
	t.Fatalf("field of an unknown shape: %T", arg)
	return ""
}

// TestEmitsMatchDeclarations holds every call of emit to the fields that its
// event declares, and every declaration to a call.
func TestEmitsMatchDeclarations(t *testing.T) {
	fset, files := source(t)
	vars := declared(t, files)
	if len(vars) != len(events) {
		t.Fatalf("%d declarations found in the source, %d at run time", len(vars), len(events))
	}
	used := map[string]bool{}
	for _, f := range files {
		ast.Inspect(f, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || callee(call) != "emit" {
				return true
			}
			id, ok := call.Args[0].(*ast.Ident)
			if !ok || vars[id.Name] == nil {
				t.Errorf("%s: emit of something that is not a declared event", fset.Position(call.Pos()))
				return true
			}
			used[id.Name] = true
			var got []string
			for _, arg := range call.Args[1:] {
				got = append(got, fieldName(t, arg))
			}
			if diff := cmp.Diff(vars[id.Name].fields, got); diff != "" {
				t.Errorf("%s: fields of %s (-declared +emitted):\n%s", fset.Position(call.Pos()), vars[id.Name].name, diff)
			}
			return true
		})
	}
	for v := range vars {
		if !used[v] {
			t.Errorf("event %s is declared and never emitted", vars[v].name)
		}
	}
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
			if m["event"] != "notifier_overflow" || m["level"] != "WARN" || m["source"] != "link" || m["schema"] != 2.0 || m["datapath"] != "br \"7\"" || m["ts"] == nil {
				t.Errorf("got %v", m)
			}
		}},
		{config.FormatConsole, func(t *testing.T, line string) {
			if !strings.Contains(line, "WARN\tnotifier_overflow\t") || !strings.Contains(line, `"source": "link"`) {
				t.Errorf("got %q", line)
			}
		}},
	} {
		t.Run(string(tc.format), func(t *testing.T) {
			var b bytes.Buffer
			log, err := newLogger(&b, tc.format, config.LevelWarn, false)
			if err != nil {
				t.Fatal(err)
			}
			log.emit(evNotifierOverflow, zap.String("datapath", `br "7"`), zap.String("source", "link"))
			log.emit(evFlowsFlushed, zap.String("datapath", "below the level"))
			if n := strings.Count(b.String(), "\n"); n != 1 {
				t.Fatalf("%d lines, want 1: %q", n, b.String())
			}
			tc.check(t, b.String())
			if log.enabled(evUpcall) || !log.enabled(evFailed) {
				t.Error("enabled does not follow the level")
			}
		})
	}
}

// TestPriorities: what journald takes off a line leaves the line as it is.
func TestPriorities(t *testing.T) {
	for _, format := range []config.LogFormat{config.FormatJSON, config.FormatConsole} {
		var b bytes.Buffer
		log, err := newLogger(&b, format, config.LevelDebug, true)
		if err != nil {
			t.Fatal(err)
		}
		want := map[zapcore.Level]string{zapcore.DebugLevel: "<7>", zapcore.InfoLevel: "<6>", zapcore.WarnLevel: "<4>", zapcore.ErrorLevel: "<3>"}
		for _, e := range events {
			b.Reset()
			log.emit(e, zap.String("text", "a\nb <1>"))
			line, ok := strings.CutPrefix(b.String(), want[e.level])
			if !ok || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Fatalf("%s, %s: %q", format, e.name, b.String())
			}
			var m map[string]any
			if err := json.Unmarshal([]byte(line), &m); format == config.FormatJSON && (err != nil || m["event"] != e.name || m["text"] != "a\nb <1>") {
				t.Errorf("%s: %v in %q", e.name, err, line)
			}
		}
	}
}
