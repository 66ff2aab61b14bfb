package docs

import (
	"testing"
	"unicode/utf8"
)

// TestLineLength: a line of prose has at most 120 columns, so that it fits in an editor, a diff and
// a terminal. Tables are exempt, because Markdown cannot wrap a row.
func TestLineLength(t *testing.T) {
	const limit = 120
	for path, p := range pages(t) {
		p.prose(func(number int, line string) {
			if n := utf8.RuneCountInString(line); n > limit {
				t.Errorf("%s:%d: %d columns, at most %d", path, number, n, limit)
			}
		})
	}
}
