package docs

import (
	"encoding/json"
	"go/format"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// example matches a code block of CONTRIBUTING.md and its place: a new file, the end of a file, or
// after a line of a file.
var example = regexp.MustCompile("(?m)^<!-- example: (new|end of|after \"(.*)\" in) (\\S+) -->\n```go\n((?:.*\n)*?)```\n")

// put returns the files that the examples add or change, with the examples applied, by path.
func put(t *testing.T, page string) map[string]string {
	t.Helper()
	files := map[string]string{}
	found := example.FindAllStringSubmatch(page, -1)
	if want := strings.Count(page, "<!-- example: "); len(found) != want || want < 8 {
		t.Fatalf("%d examples can be read of %d", len(found), want)
	}
	for _, m := range found {
		where, line, path, code := m[1], m[2], m[3], m[4]
		text, ok := files[path]
		if !ok && where != "new" {
			b, err := os.ReadFile(filepath.Join(root, path))
			if err != nil {
				t.Fatal(err)
			}
			text = string(b)
		}
		switch {
		case where == "new":
			if _, err := os.Stat(filepath.Join(root, path)); err == nil {
				t.Errorf("%s exists already", path)
			}
			text = code
		case where == "end of":
			text += code
		case strings.Count(text, line+"\n") != 1:
			t.Fatalf("%s has not one line %q", path, line)
		default:
			text = strings.Replace(text, line+"\n", line+"\n"+code, 1)
		}
		files[path] = text
	}
	return files
}

// TestWorkedExamples builds the tree with the examples of CONTRIBUTING.md applied, and runs the
// tests of testdata/examples in it.
func TestWorkedExamples(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(root, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	files := put(t, string(page))
	for path, text := range files {
		if _, err := format.Source([]byte(text)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
	}
	checks := os.DirFS("testdata/examples")
	packages := map[string]bool{}
	err = fs.WalkDir(checks, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(checks, path)
		files[strings.TrimSuffix(path, ".txt")] = string(text)
		packages["./"+filepath.Dir(path)] = true
		return err
	})
	if err != nil {
		t.Fatal(err)
	}

	dir, overlay := t.TempDir(), map[string]map[string]string{"Replace": {}}
	base, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range files {
		file := filepath.Join(dir, strings.ReplaceAll(path, "/", "_"))
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay["Replace"][filepath.Join(base, path)] = file
	}
	data, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	list := filepath.Join(dir, "overlay.json")
	if err := os.WriteFile(list, data, 0o600); err != nil {
		t.Fatal(err)
	}
	args := []string{"test", "-v", "-overlay", list, "-run", "^TestWorked"}
	for p := range packages {
		args = append(args, p)
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = root
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	if n := strings.Count(string(out), "--- PASS: TestWorked"); n != 7 {
		t.Errorf("%d tests ran, want 7:\n%s", n, out)
	}
}
