package config

import (
	"errors"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-cmp/cmp"
)

// FuzzParse: no input crashes Parse. Each error has a position in the file or is about the whole
// file. Accepted input survives Effective and Parse, and each value in it is at the position that
// the decoder would report.
func FuzzParse(f *testing.F) {
	for _, m := range mistakes {
		f.Add([]byte(m.file))
	}
	f.Add([]byte(everyKey))
	f.Add(Default().Effective())
	f.Add([]byte("netns: \"\\x41\\u00e9\\U0001F600 \\/\"\nports: [{name: 'a''b', type: \"inter\\\nnal\"}, {name: x\n y}]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("f", data)
		text := &report{}
		root := parseYAML(data, text)
		if err != nil {
			checkErrors(t, err, text.lines)
			return
		}
		effective := c.Effective()
		again, err := Parse("effective", effective)
		if err != nil {
			t.Fatalf("Effective is rejected: %v\n%s", err, effective)
		}
		if d := cmp.Diff(c, again); d != "" {
			t.Fatalf("Effective (-first +second):\n%s", d)
		}
		ast.Walk(placeChecker{t, text.lines}, root)
	})
}

func checkErrors(t *testing.T, err error, lines []string) {
	var errs Errors
	if !errors.As(err, &errs) || len(errs) == 0 {
		t.Fatalf("error is no Errors: %#v", err)
	}
	if s := err.Error(); !utf8.ValidString(s) {
		t.Fatalf("error is not UTF-8: %q", s)
	}
	for _, e := range errs {
		if e.Line == 0 && e.Column == 0 {
			continue
		}
		if e.Line < 1 || e.Line > len(lines) {
			t.Fatalf("%v: file has %d lines", e, len(lines))
		}
		if n := utf8.RuneCountInString(lines[e.Line-1]); e.Column < 1 || e.Column > n+1 {
			t.Fatalf("%v: line has %d characters", e, n)
		}
	}
}

// placeChecker checks that each scalar is at its position in the text.
type placeChecker struct {
	t     *testing.T
	lines []string
}

func (p placeChecker) Visit(n ast.Node) ast.Visitor {
	switch n.(type) {
	case *ast.StringNode, *ast.IntegerNode, *ast.BoolNode:
	default:
		return p
	}
	text := n.GetToken().Value
	at := place(n)
	rest := string([]rune(p.lines[at.Line-1])[at.Column-1:])
	quoted := strings.HasPrefix(rest, `"`) || strings.HasPrefix(rest, "'")
	folded := strings.HasPrefix(text, strings.TrimRight(rest, " "))
	if !quoted && !folded && !strings.HasPrefix(rest, text) {
		p.t.Errorf("%q is not at %d:%d, where %q is", text, at.Line, at.Column, rest)
	}
	return p
}
