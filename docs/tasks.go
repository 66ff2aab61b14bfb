package docs

import (
	"fmt"
	"strings"
)

// Task is something that readers want to do, with the section that describes it. Tests follow the
// links from README.md to each section and run its blocks.
type Task struct {
	Name    string
	Page    string // path from the root of the tree
	Section string // text of the heading
}

// Tasks are the most frequent tasks of operators and developers.
var Tasks = []Task{
	{"install", "docs/PACKAGES.md", "Install"},
	{"two ports", "docs/CONFIGURATION.md", "Two ports"},
	{"a trunk", "docs/FORWARDING.md", "VLANs"},
	{"a mirror", "docs/FORWARDING.md", "Mirrors"},
	{"a tunnel", "docs/TUNNELS.md", "Two hosts"},
	{"find why packets are lost", "docs/RUNBOOK.md", "Loss"},
	{"upgrade", "docs/PACKAGES.md", "Upgrade"},
	{"remove", "docs/PACKAGES.md", "Remove"},
	{"monitor", "docs/MONITORING.md", "Prometheus with the textfile collector"},
	{"limit a port", "docs/FORWARDING.md", "Storm control"},
	{"debug a flow", "docs/COMMANDS.md", "Debug a flow"},
	{"add an event", "CONTRIBUTING.md", "An event"},
	{"add a counter", "CONTRIBUTING.md", "A counter"},
	{"add a policy", "CONTRIBUTING.md", "A policy"},
}

// Block is a fenced block of a page.
type Block struct {
	Language string // such as yaml or sh; "" for output
	Text     string
}

// Blocks returns the blocks with a language in the section of a task whose page is in this
// folder, those of its subsections included. The error names the task.
func Blocks(task string) ([]Block, error) {
	for _, t := range Tasks {
		if t.Name != task {
			continue
		}
		page, err := Pages.ReadFile(strings.TrimPrefix(t.Page, "docs/"))
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", task, err)
		}
		if blocks := section(string(page), t.Section); len(blocks) > 0 {
			return blocks, nil
		}
	}
	return nil, fmt.Errorf("task %s: no blocks", task)
}

// section reads the blocks below a heading, up to the next one of its level.
func section(page, heading string) (blocks []Block) {
	level, fence := "", ""
	inside, fenced := false, false
	var text strings.Builder
	for line := range strings.Lines(page) {
		rest, isFence := strings.CutPrefix(strings.TrimRight(line, "\n"), "```")
		switch marks, title, isHeading := strings.Cut(strings.TrimRight(line, "\n"), " "); {
		case isFence && !fenced:
			fenced, fence = true, rest
			text.Reset()
		case isFence:
			fenced = false
			if inside && fence != "" {
				blocks = append(blocks, Block{fence, text.String()})
			}
		case fenced:
			text.WriteString(line)
		case !isHeading || marks == "" || strings.Trim(marks, "#") != "":
		case !inside && title == heading:
			inside, level = true, marks
		case inside && len(marks) <= len(level):
			return blocks
		}
	}
	return blocks
}
