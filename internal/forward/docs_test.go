package forward

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"dpifd/internal/odp"
)

var (
	docsMatch = regexp.MustCompile(`match: "([^"]*\([^"]*)"`) // not the pattern of a port entry
	docsFlow  = regexp.MustCompile(`(?s)match: ("[^"]*"|'[^']*')[,\n][\s#]*actions: ("[^"]*"|'[^']*'|\w+)`)
)

// TestDocsStaticFlows checks each static flow of the documentation with the model of the kernel's
// validation.
func TestDocsStaticFlows(t *testing.T) {
	t.Parallel()
	files, err := filepath.Glob("../../docs/*.md")
	more, _ := filepath.Glob("../../configs/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	n := 0
	for _, file := range append(files, append(more, "../../README.md")...) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		all := docsFlow.FindAllStringSubmatch(string(text), -1)
		if want := len(docsMatch.FindAllString(string(text), -1)); len(all) != want {
			t.Errorf("%s: %d matches, %d of them with actions", file, want, len(all))
		}
		for _, m := range all {
			n++
			f := StaticFlow{Match: unquote(m[1]), Actions: unquote(m[2])}
			c, err := compile(f, func(string) (odp.PortNo, bool) { return 1, true })
			if err == nil {
				_, err = newSWFlow(c.keyAttrs, c.maskAttrs)
			}
			if err != nil {
				t.Errorf("%s: %s: %v", file, f.Match, err)
			}
		}
	}
	if n < 2 {
		t.Errorf("only %d static flows in the documentation", n)
	}
}

func unquote(s string) string {
	if s[0] == '"' || s[0] == '\'' {
		return s[1 : len(s)-1]
	}
	return s
}
