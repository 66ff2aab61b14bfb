package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dpifd/internal/command"

	"github.com/spf13/pflag"
)

const configuration = "../../docs/CONFIGURATION.md"

// tool returns the path of a program that checks generated files.
func tool(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skipf("%s is not installed", name)
	}
	return path
}

// generated returns a directory with all generated files.
func generated(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	if err := write(dir, "v1.2.3", configuration); err != nil {
		t.Fatal(err)
	}
	return dir
}

func pages(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(generated(t), "man", "*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

func TestLint(t *testing.T) {
	mandoc := tool(t, "mandoc")
	for _, page := range pages(t) {
		if out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", page).CombinedOutput(); err != nil ||
			len(out) > 0 {
			t.Errorf("mandoc: %v\n%s", err, out)
		}
	}
}

func TestGroffWarnings(t *testing.T) {
	man := tool(t, "man")
	for _, page := range pages(t) {
		cmd := exec.Command(man, "--warnings", "-E", "UTF-8", "-l", "-Tutf8", "-Z", page)
		cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8", "MANROFFSEQ=", "MANWIDTH=80")
		var errs strings.Builder
		cmd.Stderr = &errs
		if err := cmd.Run(); err != nil || errs.Len() > 0 {
			t.Errorf("man: %s: %v\n%s", page, err, &errs)
		}
	}
}

// TestLintFindsMistakes checks that mandoc can report errors.
func TestLintFindsMistakes(t *testing.T) {
	mandoc := tool(t, "mandoc")
	page := filepath.Join(t.TempDir(), "dpifd.8")
	if err := os.WriteFile(page, []byte(".TH DPIFD 8 2026-11-22\n.SH NAME\n.NOSUCH macro\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(mandoc, "-T", "lint", "-W", "warning", page).CombinedOutput(); err == nil {
		t.Errorf("mandoc accepts an unknown macro: %s", out)
	}
}

var overstrike = regexp.MustCompile(`.\x08`)

// words renders a page and returns it without white space, because lines may break after any
// hyphen.
func words(t *testing.T, page string) string {
	t.Helper()
	out, err := exec.Command(tool(t, "mandoc"), "-T", "utf8", page).Output()
	if err != nil {
		t.Fatalf("mandoc %s: %v", page, err)
	}
	return plain(overstrike.ReplaceAllString(string(out), ""))
}

func plain(s string) string { return strings.Join(strings.Fields(s), "") }

// TestPagesMatchHelp compares each command's page with its help texts letter by letter, so
// that no part is interpreted as Markdown.
func TestPagesMatchHelp(t *testing.T) {
	dir := filepath.Join(generated(t), "man")
	for _, c := range documented(command.New()) {
		page := words(t, filepath.Join(dir, pageName(c)+".8"))
		want := []string{c.Short, c.Long, c.Example}
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if f.Hidden {
				return
			}
			_, usage := pflag.UnquoteUsage(f)
			want = append(want, "--"+f.Name, usage)
		})
		for _, sub := range c.Commands() {
			if len(documented(c)) > 1 && !sub.Hidden {
				want = append(want, sub.CommandPath(), sub.Short)
			}
		}
		for _, text := range want {
			if !strings.Contains(page, plain(text)) {
				t.Errorf("%s does not say %q:\n%s", pageName(c), text, page)
			}
		}
	}
}

// TestPagesNameCommandsThatExist checks the commands that the pages tell operators to run.
func TestPagesNameCommandsThatExist(t *testing.T) {
	typed := regexp.MustCompile("(?m)(?:`|\\||^ {4}|sudo )\\s*dpifd ([a-z][a-z-]+)")
	for _, page := range []string{"RUNBOOK.md", "MONITORING.md", "PACKAGES.md"} {
		text, err := os.ReadFile("../../docs/" + page)
		if err != nil {
			t.Fatal(err)
		}
		found := typed.FindAllStringSubmatch(string(text), -1)
		if len(found) == 0 {
			t.Errorf("docs/%s names no command", page)
		}
		for _, m := range found {
			if c, _, err := command.New().Find([]string{m[1]}); err != nil || c.Name() != m[1] {
				t.Errorf("docs/%s: there is no command dpifd %s", page, m[1])
			}
		}
	}
}

func TestConfigurationPageHasEachKey(t *testing.T) {
	text, err := os.ReadFile(configuration)
	if err != nil {
		t.Fatal(err)
	}
	page := words(t, filepath.Join(generated(t), "man", "dpifd.yaml.5"))
	keys := regexp.MustCompile("(?m)^\\| `([^`]+)` \\| ([a-z]+)").FindAllStringSubmatch(string(text), -1)
	if len(keys) < 20 {
		t.Fatalf("only %d keys in %s", len(keys), configuration)
	}
	for _, k := range keys {
		if !strings.Contains(page, k[1]+"("+k[2]) {
			t.Errorf("dpifd.yaml(5) lacks %s", k[1])
		}
	}
}

func TestConfigurationPageRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"no title":  "text\n| `a` | b | c | d | e |\n",
		"no table":  "# Title\n\ntext\n",
		"short row": "# Title\n\n| `a` | b | c |\n",
	} {
		if _, err := configurationPage(text, "% \"A\" \"5\"\n"); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestReferences: each page named in SEE ALSO exists.
func TestReferences(t *testing.T) {
	dir := filepath.Join(generated(t), "man")
	reference := regexp.MustCompile(`(dpifd[a-z.-]*)\(([0-9])\)`)
	for _, page := range pages(t) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		all := reference.FindAllStringSubmatch(string(text), -1)
		if len(all) == 0 {
			t.Errorf("%s refers to no page", page)
		}
		for _, r := range all {
			if _, err := os.Stat(filepath.Join(dir, r[1]+"."+r[2])); err != nil {
				t.Errorf("%s: %v", page, err)
			}
		}
	}
}

// TestCompletionSyntax: each shell parses its script without running it.
func TestCompletionSyntax(t *testing.T) {
	dir := filepath.Join(generated(t), "completions")
	for _, argv := range [][]string{{"bash", "-n", "dpifd"}, {"zsh", "-n", "_dpifd"},
		{"fish", "--no-execute", "dpifd.fish"}} {
		t.Run(argv[0], func(t *testing.T) {
			cmd := exec.Command(tool(t, argv[0]), argv[1:]...)
			cmd.Dir = dir
			if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
				t.Errorf("%v\n%s", err, out)
			}
		})
	}
}

// TestBashCompletes completes words as bash does for Tab.
func TestBashCompletes(t *testing.T) {
	tool(t, "dh_bash-completion") // part of the package that the script needs
	script := filepath.Join(generated(t), "completions", "dpifd")
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "dpifd"), "dpifd/cmd/dpifd")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for line, want := range map[string]string{
		"dpifd ru":              "run",
		"dpifd check --con":     "--config",
		"dpifd version -o ":     "json",
		"dpifd odp ":            "actions",
		"dpifd completion ":     "fish",
		"dpifd no-such-command": "",
	} {
		cmd := exec.Command(tool(t, "bash"), "--norc", "-c", `
			source /usr/share/bash-completion/bash_completion
			source "$1"
			COMP_LINE=$2 COMP_POINT=${#2} COMP_TYPE=9
			read -ra COMP_WORDS <<<"$2"
			[[ $2 == *" " ]] && COMP_WORDS+=("")
			COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			__start_dpifd
			printf '%s\n' "${COMPREPLY[@]}"`, "bash", script, line)
		cmd.Env = append(os.Environ(), "PATH="+bin+":"+os.Getenv("PATH"))
		out, err := cmd.Output()
		if err != nil {
			t.Errorf("%q: %v", line, err)
		}
		if got := strings.Fields(string(out)); want == "" && len(got) > 0 ||
			want != "" && !strings.Contains(" "+strings.Join(got, " ")+" ", " "+want+" ") {
			t.Errorf("%q is completed to %q, want %q among it", line, got, want)
		}
	}
}
