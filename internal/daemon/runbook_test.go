package daemon

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/event"
)

// TestRunbookHasEachEvent: docs/RUNBOOK.md has an entry for each event of level WARN and ERROR and
// for each cause of loss, and no others.
func TestRunbookHasEachEvent(t *testing.T) {
	page, err := os.ReadFile(runbookFile)
	if err != nil {
		t.Fatal(err)
	}
	logs, err := os.ReadFile(logsFile)
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, k := range event.Kinds() {
		if k.Level >= event.Warn {
			want = append(want, "### "+k.Name)
		}
	}
	_, losses, _ := strings.Cut(string(logs), "\n## Loss\n")
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(losses, -1) {
		want = append(want, "#### "+m[1])
	}
	entries := regexp.MustCompile(`(?m)^(####? [a-z_]+)\n((?:.*\n)*?)(?:\n|\z)`).FindAllStringSubmatch(string(page), -1)
	var got []string
	for _, e := range entries {
		got = append(got, e[1])
		for _, part := range []string{"- **Means**: ", "\n- **Confirm**: ", "\n- **Do**: "} {
			if strings.Count(e[2], part) != 1 {
				t.Errorf("docs/RUNBOOK.md: %q has not one %q", e[1], strings.TrimSpace(part))
			}
		}
	}
	slices.Sort(want)
	slices.Sort(got)
	for _, name := range want {
		if !slices.Contains(got, name) {
			t.Errorf("docs/RUNBOOK.md has no entry %q", name)
		}
	}
	for i, name := range got {
		if !slices.Contains(want, name) || i > 0 && got[i-1] == name {
			t.Errorf("docs/RUNBOOK.md has an entry %q that nothing logs, or two", name)
		}
	}
}
