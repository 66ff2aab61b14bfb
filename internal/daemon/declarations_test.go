package daemon

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/event"
)

var snake = regexp.MustCompile(`^[a-z][a-z0-9]*(_[a-z0-9]+)*$`)

// TestEventDeclarations checks each declaration against the rules that the log and its readers rely
// on.
func TestEventDeclarations(t *testing.T) {
	if _, err := event.Meanings(); err != nil {
		t.Error(err)
	}
	var names []string
	for _, k := range event.Kinds() {
		if !snake.MatchString(k.Name) || slices.Contains(names, k.Name) {
			t.Errorf("event %q: not snake_case, or declared twice", k.Name)
		}
		names = append(names, k.Name)
		if !strings.HasSuffix(k.Meaning, ".") || k.Advice != "" && !strings.HasSuffix(k.Advice, ".") {
			t.Errorf("event %s: meaning or advice is not a sentence: %q, %q", k.Name, k.Meaning, k.Advice)
		}
		if k.Level >= event.Warn && k.Advice == "" {
			t.Errorf("event %s is %s and has no advice", k.Name, k.Level)
		}
		var fields []string
		for _, f := range k.Fields() {
			if !snake.MatchString(f.Name) || slices.Contains(fields, f.Name) {
				t.Errorf("event %s: field %q: not snake_case, or twice", k.Name, f.Name)
			}
			if slices.Contains([]string{"level", "ts", "event", "schema"}, f.Name) {
				t.Errorf("event %s: field %q is reserved", k.Name, f.Name)
			}
			fields = append(fields, f.Name)
		}
	}
}

// source lists what the non-test files of a package contain: types that are events, declared types,
// and types of which values are created.
type source struct{ events, declared, made []string }

// TestEachEventIsDeclaredAndEmitted searches the sources of all packages. Emitting an undeclared
// event would end the daemon, and a declared event that is never emitted would be documented in
// vain.
func TestEachEventIsDeclaredAndEmitted(t *testing.T) {
	all := map[string]*source{}
	files, err := filepath.Glob("../*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		dir := filepath.Dir(file)
		if all[dir] == nil {
			all[dir] = &source{}
		}
		all[dir].read(t, file)
	}
	for dir, s := range all {
		for _, name := range s.events {
			if !slices.Contains(s.declared, name) {
				t.Errorf("%s: %s is an event and is not declared", dir, name)
			}
			if !slices.Contains(s.made, name) {
				t.Errorf("%s: %s is an event and never emitted", dir, name)
			}
		}
		declared += len(s.declared)
	}
	if n := len(event.Kinds()); declared != n {
		t.Errorf("%d declarations in the sources, %d in the registry: does the daemon link all packages?", declared, n)
	}
}

func (s *source) read(t *testing.T, file string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), file, text, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.TypeSpec:
			if st, ok := n.Type.(*ast.StructType); ok && slices.ContainsFunc(st.Fields.List, embedsEvent) {
				s.events = append(s.events, n.Name.Name)
			}
		case *ast.CompositeLit:
			if id, ok := n.Type.(*ast.Ident); ok {
				s.made = append(s.made, id.Name)
			}
		case *ast.IndexExpr:
			if sel, ok := n.X.(*ast.SelectorExpr); ok && sel.Sel.Name == "Declare" {
				s.declared = append(s.declared, n.Index.(*ast.Ident).Name)
			}
		}
		return true
	})
}

// embedsEvent reports whether a struct field is an embedded event.Base or event.OfDatapath.
func embedsEvent(f *ast.Field) bool {
	sel, ok := f.Type.(*ast.SelectorExpr)
	if !ok || len(f.Names) > 0 {
		return false
	}
	pkg, ok := sel.X.(*ast.Ident)
	return ok && pkg.Name == "event" && (sel.Sel.Name == "Base" || sel.Sel.Name == "OfDatapath")
}
