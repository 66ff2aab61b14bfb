package docs

import (
	"regexp"
	"strings"
	"testing"
)

// unclear maps phrases that non-native readers misread to what to write instead. Each was used in
// these pages.
var unclear = map[string]string{
	`sees? to|seen to`:  "prepare, handle",
	`comes? up|came up`: "become an upcall",
	`tells? of`:         "report",
	`goes on|went on`:   "continue",
	`put right|mends?`:  "restore, correct",
	`for ever`:          "without end",
	`by itself`:         "name what does it",
	`besides`:           "also",
}

// TestPlainWords: pages and events use the usual term.
func TestPlainWords(t *testing.T) {
	for pattern, instead := range unclear {
		re := regexp.MustCompile(`(?i)\b(` + pattern + `)\b`)
		for path, p := range pages(t) {
			for i, line := range strings.Split(string(p.source), "\n") {
				if found := re.FindString(line); found != "" {
					t.Errorf("%s:%d: %q; write: %s", path, i+1, found, instead)
				}
			}
		}
	}
}
