package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	link = regexp.MustCompile(`\[([^\]]*)\]\([^)]*\)`)
	// head matches a heading of the page, which becomes a section.
	head = regexp.MustCompile(`(?m)^## (.*)$`)
	// rule matches the line below the heading of a table.
	rule = regexp.MustCompile(`^[|-]+\s*$`)
)

// configurationPage converts the Markdown page on configuration to the Markdown of dpifd.yaml(5).
// Tables become lists, because they are too wide for a terminal.
func configurationPage(text string, titleLine string) ([]byte, error) {
	title, body, ok := strings.Cut(text, "\n")
	if !ok || !strings.HasPrefix(title, "# ") {
		return nil, errors.New("it does not begin with a title")
	}
	var out strings.Builder
	out.WriteString(titleLine + "# NAME\ndpifd.yaml - configuration of dpifd\n\n# DESCRIPTION\n")
	body = link.ReplaceAllString(body, "$1")
	body = head.ReplaceAllStringFunc(body, func(s string) string {
		return "# " + strings.ToUpper(strings.TrimPrefix(s, "## "))
	})
	keys := 0
	for line := range strings.Lines(body) {
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		switch {
		case !strings.HasPrefix(line, "|"):
			out.WriteString(line)
		case len(cells) == 2 && !rule.MatchString(line):
			fmt.Fprintf(&out, "**%s**\n: %s\n\n", cells[0], cells[1])
		case len(cells) != 5 && len(cells) != 2:
			return nil, fmt.Errorf("a row of the table has %d cells, want 5 (a key) or 2: %s", len(cells), line)
		case strings.HasPrefix(cells[0], "`"):
			out.WriteString(entry(cells[0], cells[1], cells[2], cells[3], cells[4]))
			keys++
		}
	}
	if keys == 0 {
		return nil, errors.New("it has no table of keys")
	}
	out.WriteString("\n# FILES\n/etc/dpifd/dpifd.yaml\n\n# SEE ALSO\n**dpifd(8)**, **dpifd-run(8)**, **dpifd-check(8)**\n")
	return []byte(out.String()), nil
}

// entry returns one key's entry in the list.
func entry(key, kind, initial, limits, meaning string) string {
	facts := kind
	if initial != "" && initial != "required" {
		facts += ", default " + initial
	} else if initial != "" {
		facts += ", required"
	}
	if limits != "" {
		facts += "; " + limits
	}
	return fmt.Sprintf("**%s** (%s)\n: %s\n\n", strings.Trim(key, "`"), facts, meaning)
}
