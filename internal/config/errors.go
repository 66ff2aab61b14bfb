package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Error is one mistake in a configuration file.
type Error struct {
	// File is the name as it was given to Load or Parse.
	File string
	// Line and Column say where the mistake is, counted from 1, columns in characters. Both are
	// 0 for a mistake without a line, such as a file that cannot be read.
	Line, Column int
	// Msg says what is wrong and what would be right.
	Msg string
	// Excerpt is the line with its neighbours and a caret below the column;
	// empty if Line is 0.
	Excerpt string
	// Err is the system's error behind this one, nil if there is none.
	Err error
}

// Error returns file:line:column: message, and below it the excerpt.
func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.Msg
	}
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Msg)
	if e.Excerpt != "" {
		s += "\n" + e.Excerpt
	}
	return s
}

// Unwrap returns Err.
func (e *Error) Unwrap() error { return e.Err }

// Errors are the mistakes found in one file, at least one, in the order in
// which they were found. It is the type of every error of Load and Parse.
type Errors []*Error

// Error returns the mistakes, one per line.
func (es Errors) Error() string {
	s := make([]string, len(es))
	for i, e := range es {
		s[i] = e.Error()
	}
	return strings.Join(s, "\n")
}

// Unwrap returns each mistake, for errors.Is and errors.As.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

// maxErrors limits the reported mistakes of one file.
const maxErrors = 20

// report collects the mistakes of one file.
type report struct {
	file  string
	lines []string
	errs  Errors
}

func (r *report) full() bool { return len(r.errs) >= maxErrors }

// add records a mistake at line and column, both counted from 1, or 0 and 0.
func (r *report) add(line, column int, format string, args ...any) {
	if r.full() {
		return
	}
	if line > 0 && line <= len(r.lines) {
		// The parser reports a missing token at the end of a line one column after it.
		column = min(column, utf8.RuneCountInString(r.lines[line-1])+1)
	}
	r.errs = append(r.errs, &Error{
		File: r.file, Line: line, Column: column,
		Msg:     fmt.Sprintf(format, args...),
		Excerpt: excerpt(r.lines, line, column),
	})
}

// err returns the collected mistakes, nil if there are none.
func (r *report) err() error {
	if len(r.errs) == 0 {
		return nil
	}
	return r.errs
}

const (
	excerptContext = 1   // lines above and below
	excerptWidth   = 100 // characters of a line
)

// excerpt shows the line and its neighbours, with a caret below column.
func excerpt(lines []string, line, column int) string {
	if line < 1 || line > len(lines) {
		return ""
	}
	first, last := max(line-excerptContext, 1), min(line+excerptContext, len(lines))
	width := len(fmt.Sprint(last))
	// All lines are cut at the same place, so that they stay aligned.
	skip := max(0, column-1-excerptWidth*3/4)
	var b strings.Builder
	for n := first; n <= last; n++ {
		mark := ' '
		if n == line {
			mark = '>'
		}
		shown := cut(lines[n-1], skip)
		fmt.Fprintf(&b, "%c %*d |", mark, width, n)
		if len(shown) > 0 {
			b.WriteString(" " + string(shown))
		}
		b.WriteByte('\n')
		if n != line {
			continue
		}
		fmt.Fprintf(&b, "  %*s | %*s^\n", width, "", column-1-skip, "")
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// cut returns the shown part of a line from character skip on, without characters that control
// a terminal.
func cut(line string, skip int) []rune {
	rs := []rune(line)
	rs = rs[min(skip, len(rs)):]
	rs = rs[:min(excerptWidth, len(rs))]
	for i, r := range rs {
		switch {
		case r == '\t':
			rs[i] = ' '
		case !unicode.IsPrint(r):
			rs[i] = unicode.ReplacementChar
		}
	}
	return rs
}
