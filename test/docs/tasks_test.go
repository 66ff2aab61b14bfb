package docs

import (
	"net/url"
	"path/filepath"
	"testing"

	"dpifd/docs"
)

// TestTasks: at most three links lead from README.md to each task, the last one to its section.
func TestTasks(t *testing.T) {
	const most = 3
	all := pages(t)
	to := map[string]string{"README.md": "README.md"} // the links that lead to a page or section
	for next, clicks := []string{"README.md"}, 1; clicks <= most; clicks++ {
		var found []string
		for _, from := range next {
			for _, link := range all[from].links {
				u, err := url.Parse(link)
				if err != nil || u.Scheme != "" {
					continue // TestLinks reports invalid ones; others lead to web sites
				}
				page := from
				if u.Path != "" {
					page = filepath.Join(filepath.Dir(from), u.Path)
				}
				if section := page + "#" + u.Fragment; u.Fragment != "" && to[section] == "" {
					to[section] = to[from] + " -> " + section
				}
				if all[page] != nil && to[page] == "" {
					to[page] = to[from] + " -> " + page
					found = append(found, page)
				}
			}
		}
		next = found
	}
	if len(docs.Tasks) != 14 {
		t.Errorf("%d tasks", len(docs.Tasks))
	}
	for _, task := range docs.Tasks {
		way := to[task.Page+"#"+anchor(task.Section)]
		if way == "" {
			t.Errorf("%s: README.md does not lead to section %q of %s by %d links", task.Name, task.Section, task.Page, most)
		}
		t.Logf("%s: %s", task.Name, way)
	}
}
