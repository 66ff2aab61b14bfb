// Package docs checks the Markdown pages: links have targets, and no word is doubled.
package docs

import (
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"unicode"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/text"
)

const root = "../.."

// page is a Markdown file.
type page struct {
	path    string // relative to the root
	source  []byte
	links   []string
	anchors map[string]bool
}

// pages reads all Markdown files of the project.
func pages(t *testing.T) map[string]*page {
	t.Helper()
	all := map[string]*page{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && path != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "dist") {
			return fs.SkipDir
		}
		if d.IsDir() || filepath.Ext(name) != ".md" {
			return nil
		}
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		all[rel] = parse(rel, source)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(all) < 10 {
		t.Fatalf("found only %d pages", len(all))
	}
	return all
}

// parse collects a page's links and the anchors of its headings.
func parse(path string, source []byte) *page {
	p := &page{path: path, source: source, anchors: map[string]bool{}}
	md := goldmark.New(goldmark.WithExtensions(extension.GFM))
	tree := md.Parser().Parse(text.NewReader(source))
	_ = ast.Walk(tree, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if !entering {
			return ast.WalkContinue, nil
		}
		switch n := n.(type) {
		case *ast.Link:
			p.links = append(p.links, string(n.Destination))
		case *ast.Image:
			p.links = append(p.links, string(n.Destination))
		case *ast.Heading:
			p.anchors[anchor(plain(n, source))] = true
		}
		return ast.WalkContinue, nil
	})
	return p
}

// plain returns the text of a node without markup.
func plain(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Segment.Value(source))
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// anchor returns the fragment that GitHub generates for a heading.
func anchor(heading string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(heading) {
		switch {
		case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
			b.WriteRune(r)
		case r == ' ':
			b.WriteRune('-')
		}
	}
	return b.String()
}

func TestLinks(t *testing.T) {
	all := pages(t)
	for path, p := range all {
		for _, link := range p.links {
			if err := check(all, path, link); err != nil {
				t.Errorf("%s: link %q: %v", path, link, err)
			}
		}
	}
}

// check reports a relative link without target. It does not access the network.
func check(all map[string]*page, from, link string) error {
	u, err := url.Parse(link)
	if err != nil {
		return err
	}
	if u.Scheme != "" {
		return nil
	}
	target := from
	if u.Path != "" {
		target = filepath.Join(filepath.Dir(from), u.Path)
		if _, err := os.Stat(filepath.Join(root, target)); err != nil {
			return err
		}
	}
	if u.Fragment == "" {
		return nil
	}
	if p := all[target]; p != nil && !p.anchors[u.Fragment] {
		return fmt.Errorf("%s has no such heading", target)
	}
	return nil
}

// word matches a token that consists of letters only.
var word = regexp.MustCompile(`^(?i)[a-z]+$`)

// prose calls do with each line outside code blocks and tables.
func (p *page) prose(do func(number int, line string)) {
	code := false
	for i, line := range strings.Split(string(p.source), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			code = !code
			continue
		}
		if !code && !strings.HasPrefix(line, "|") && !strings.HasPrefix(line, "    ") && !strings.HasPrefix(line, "![") {
			do(i+1, line)
		}
	}
}

func TestDoubledWords(t *testing.T) {
	for path, p := range pages(t) {
		last := ""
		p.prose(func(number int, line string) {
			if line == "" {
				last = ""
			}
			for _, token := range strings.Fields(line) {
				if strings.EqualFold(token, last) && word.MatchString(token) {
					t.Errorf("%s:%d: %q is repeated", path, number, token)
				}
				last = token
			}
		})
	}
}

// TestArchitectureListsPackages: the table of layers lists exactly the packages of internal/,
// and the picture shows them.
func TestArchitectureListsPackages(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "ARCHITECTURE.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(source), "| Package of `internal/` |")
	table, _, _ = strings.Cut(table, "\n\n")
	listed := map[string]bool{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z0-9]+)`").FindAllStringSubmatch(table, -1) {
		listed[row[1]] = true
	}
	dirs, err := os.ReadDir(filepath.Join(root, "internal"))
	if err != nil {
		t.Fatal(err)
	}
	picture, err := os.ReadFile(filepath.Join(root, "docs", "architecture.svg"))
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range dirs {
		if d.IsDir() && !listed[d.Name()] {
			t.Errorf("ARCHITECTURE.md does not list package %s", d.Name())
		}
		if shown := regexp.MustCompile(`>[^<]*\b` + d.Name() + `\b[^<]*</text>`); d.Name() != "lab" && !shown.Match(picture) {
			t.Errorf("docs/architecture.svg does not show package %s", d.Name())
		}
		delete(listed, d.Name())
	}
	for name := range listed {
		t.Errorf("ARCHITECTURE.md lists package %s, which does not exist", name)
	}
}
