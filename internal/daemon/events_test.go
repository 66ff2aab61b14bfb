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
)

var update = flag.Bool("update", false, "write docs/LOGS.md anew")

const (
	logsFile  = "../../docs/LOGS.md"
	logsBegin = "<!-- events: begin -->\n"
	logsEnd   = "<!-- events: end -->\n"
)

// eventTable renders the declarations as docs/LOGS.md shows them.
func eventTable() string {
	var b strings.Builder
	b.WriteString("| event | level | fields | meaning |\n|---|---|---|---|\n")
	for _, e := range events {
		fields := make([]string, len(e.fields))
		for i, f := range e.fields {
			fields[i] = "`" + f + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", e.name, e.level.CapitalString(), strings.Join(fields, " "), e.meaning)
	}
	return b.String()
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
			if slices.Contains([]string{"level", "ts", "event"}, f) {
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
			if m["event"] != "notifier_overflow" || m["level"] != "WARN" || m["source"] != "link" || m["datapath"] != "br \"7\"" || m["ts"] == nil {
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
			log, err := newLogger(&b, tc.format, config.LevelWarn)
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
