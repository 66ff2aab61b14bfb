package docs

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// packagedRoot is the directory of the documentation in packages.
const packagedRoot = "/usr/share/doc/dpifd/"

// packaged returns the files of the tree that packages install below packagedRoot, where each must
// have the same path as in the tree.
func packaged(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "deploy/packaging/nfpm.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Contents []struct{ Src, Dst string }
	}
	if err := yaml.Unmarshal(text, &list); err != nil {
		t.Fatal(err)
	}
	files := map[string]bool{}
	for _, c := range list.Contents {
		dst, ok := strings.CutPrefix(c.Dst, packagedRoot)
		if !ok || strings.HasPrefix(c.Src, "$") {
			continue // installed elsewhere, or generated
		}
		found, err := filepath.Glob(filepath.Join(root, c.Src))
		if err != nil || len(found) == 0 {
			t.Fatalf("nfpm.yaml: %s: %d files, %v", c.Src, len(found), err)
		}
		for _, f := range found {
			path, err := filepath.Rel(root, f)
			if err != nil {
				t.Fatal(err)
			}
			if want := strings.TrimSuffix(dst, "/"); path != want && filepath.Dir(path) != want {
				t.Errorf("nfpm.yaml has %s at %s", path, c.Dst)
			}
			files[path] = true
		}
	}
	return files
}

// TestPackagedLinks: the targets of links in packaged pages are packaged too.
func TestPackagedLinks(t *testing.T) {
	files := packaged(t)
	all, links := pages(t), 0
	for path := range files {
		p := all[path]
		if p == nil {
			continue
		}
		for _, link := range p.links {
			u, err := url.Parse(link)
			if err != nil || u.Scheme != "" || u.Path == "" {
				continue // TestLinks checks the former
			}
			links++
			if target := filepath.Join(filepath.Dir(path), u.Path); !files[target] {
				t.Errorf("%s: %s is not packaged", path, target)
			}
		}
	}
	if links < 50 {
		t.Errorf("checked only %d links", links)
	}
}
