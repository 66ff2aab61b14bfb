package command_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"dpifd/docs"
	"dpifd/internal/command"
	"dpifd/internal/config"

	"github.com/spf13/pflag"
)

// page is a page of the documentation.
type page struct{ name, text string }

func pages(t *testing.T) []page {
	t.Helper()
	names, err := fs.Glob(docs.Pages, "*.md")
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	list := []page{{"README.md", string(readme)}}
	for _, name := range names {
		text, err := docs.Pages.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, page{name, string(text)})
	}
	return list
}

var (
	fenced   = regexp.MustCompile("(?ms)^```\\w*\n(.*?)^```")
	indented = regexp.MustCompile(`(?m)(?:^    .*\n)+`)
	topKey   = regexp.MustCompile(`^(?:#.*\n)?` +
		`(?:datapath|netns|dispatch|handlers|ring|socket|ports|policy|flows|log|control):`)
	inline   = regexp.MustCompile("`(?:sudo )?(dpifd [a-z][^`]*)`")
	shell    = regexp.MustCompile(`(?m)^\s*(?:[#$] )?(?:sudo )?(dpifd [a-z].*)$`)
	word     = regexp.MustCompile(`(?:'[^']*'|"[^"]*"|[^\s'"])+`)
	operator = regexp.MustCompile(`\s(?:[|&>;<]|2>).*|#\s.*`) // shell operators and everything after them
)

// blocks returns the contents of a page's code blocks.
func (p *page) blocks() (list []string) {
	for _, m := range fenced.FindAllStringSubmatch(p.text, -1) {
		list = append(list, m[1])
	}
	for _, b := range indented.FindAllString(fenced.ReplaceAllString(p.text, ""), -1) {
		list = append(list, strings.ReplaceAll(strings.TrimPrefix(b, "    "), "\n    ", "\n"))
	}
	return list
}

// TestDocsConfigurations: each configuration in the pages is valid.
func TestDocsConfigurations(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		for _, b := range p.blocks() {
			if !topKey.MatchString(b) || strings.Contains(b, "\nkey: ") /* what trace prints */ {
				continue
			}
			n++
			if _, err := config.Parse(p.name, []byte(b)); err != nil {
				t.Errorf("%v in\n%s", err, b)
			}
		}
	}
	if n < 5 {
		t.Errorf("only %d configurations", n)
	}
}

// TestDocsCommands: each command line in the pages is valid.
func TestDocsCommands(t *testing.T) {
	n := 0
	for _, p := range pages(t) {
		var lines []string
		for _, b := range p.blocks() {
			for _, m := range shell.FindAllStringSubmatch(b, -1) {
				if m[1] == "dpifd can run here" {
					continue // output of probe
				}
				lines = append(lines, operator.ReplaceAllString(m[1], ""))
			}
		}
		for _, m := range inline.FindAllStringSubmatch(p.text, -1) {
			lines = append(lines, m[1])
		}
		for _, line := range lines {
			n++
			if err := parseCommand(line); err != nil {
				t.Errorf("%s: %s: %v", p.name, line, err)
			}
		}
	}
	if n < 50 {
		t.Errorf("only %d command lines", n)
	}
}

// placeholder matches a placeholder for a number.
var placeholder = regexp.MustCompile(`\b(ID|N)\b`)

// parseCommand parses a command line without running it. Words in capitals are arguments.
func parseCommand(line string) error {
	var args []string
	line = strings.NewReplacer("[", "", "]", "", `\|`, "|").Replace(line)
	for _, w := range word.FindAllString(placeholder.ReplaceAllString(line, "1"), -1) {
		first, _, _ := strings.Cut(w, "|") // of alternatives
		args = append(args, strings.NewReplacer("'", "", `"`, "").Replace(first))
	}
	if args[1] == "help" {
		args = append(args[:1], "--help") // the help of the library, which Execute adds
	}
	root := command.New()
	root.SetOut(io.Discard)
	cmd, rest, err := root.Find(args[1:])
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); err != nil && !errors.Is(err, pflag.ErrHelp) {
		return err
	}
	if !cmd.HasParent() || cmd.HasSubCommands() && len(cmd.Flags().Args()) > 0 && cmd.Args != nil {
		return cmd.ValidateArgs(cmd.Flags().Args())
	}
	return nil
}

// TestDocsListCommands: docs/COMMANDS.md names each command.
func TestDocsListCommands(t *testing.T) {
	page, err := docs.Pages.ReadFile("COMMANDS.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, cmd := range command.New().Commands() {
		if !regexp.MustCompile("dpifd " + cmd.Name() + `\b`).Match(page) {
			t.Errorf("docs/COMMANDS.md lacks dpifd %s", cmd.Name())
		}
	}
}
