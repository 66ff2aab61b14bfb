package docs

import (
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// index is the page that leads to all others.
const index = "docs/README.md"

// TestReadmeLength: the first page is short.
func TestReadmeLength(t *testing.T) {
	const limit = 200
	if n := strings.Count(string(pages(t)["README.md"].source), "\n"); n > limit {
		t.Errorf("README.md has %d lines, at most %d", n, limit)
	}
}

// TestPurpose: the first paragraph of a page names its readers.
func TestPurpose(t *testing.T) {
	reader := regexp.MustCompile(`\b[Ff]or (operators|developers|maintainers|users)\b`)
	for path, p := range pages(t) {
		if path == "README.md" || path == "CHANGELOG.md" {
			continue // for everybody
		}
		parts := strings.SplitN(string(p.source), "\n\n", 3)
		if !strings.HasPrefix(parts[0], "# ") || len(parts) < 2 || !reader.MatchString(parts[1]) {
			t.Errorf("%s: the first paragraph does not say for whom the page is", path)
		}
	}
}

// TestIndexListsPages: the index links to each page, and README to the index.
func TestIndexListsPages(t *testing.T) {
	all := pages(t)
	linked := map[string]bool{index: true}
	for _, link := range all[index].links {
		page, _, _ := strings.Cut(link, "#")
		linked[filepath.Join(filepath.Dir(index), page)] = true
	}
	for path := range all {
		if !linked[path] {
			t.Errorf("%s does not link to %s", index, path)
		}
	}
	if !strings.Contains(string(all["README.md"].source), "("+index+")") {
		t.Errorf("README.md does not link to %s", index)
	}
}
