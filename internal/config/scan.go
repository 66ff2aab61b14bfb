package config

import (
	"bytes"
	"errors"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

const (
	// maxFlowDepth and maxBlockColumn bound how deep a file nests, in braces and in
	// indentation, and maxKeys how many keys a block mapping has. The parser recurses, keeps
	// the path to each value, and copies a mapping for each further key, so a deep or long file
	// would need stack and gigabytes. It is also quadratic in missing values, which maxTokens
	// limits; this number of tokens is about 10,000 ports.
	maxFlowDepth   = 16
	maxBlockColumn = 64
	maxKeys        = 256
	maxTokens      = 1 << 16
)

var (
	byteOrderMark = []byte("\ufeff")
	crlf          = []byte("\r\n")
)

// parseYAML returns the root of the file's only document. If there are mistakes, it returns nil
// and r has them.
func parseYAML(data []byte, r *report) ast.Node {
	data = bytes.TrimPrefix(data, byteOrderMark)
	data = bytes.ReplaceAll(data, crlf, []byte("\n"))
	text := string(data)
	r.lines = strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if !checkText(r) {
		return nil
	}
	tokens := lexer.Tokenize(text)
	if !checkTokens(tokens, r) {
		return nil
	}
	// The decoder finds duplicate keys, along with all other mistakes.
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		var yerr yaml.Error
		if errors.As(err, &yerr) && yerr.GetToken() != nil {
			p := yerr.GetToken().Position
			hint := ""
			if strings.Contains(yerr.GetMessage(), "mapping value") {
				hint = "; quote a value that has a colon"
			}
			r.add(p.Line, p.Column, "not YAML: %s%s", yerr.GetMessage(), hint)
		} else {
			r.add(1, 1, "not YAML: %v", err)
		}
		return nil
	}
	if len(file.Docs) == 0 || file.Docs[0].Body == nil {
		r.add(0, 0, "holds no configuration; {} would be all defaults")
		return nil
	}
	return file.Docs[0].Body
}

// checkText refuses files that are not text, and tabs outside comments: YAML accepts tabs only
// in some places, and the lexer does not count them as columns.
func checkText(r *report) bool {
	for i, line := range r.lines {
		column, before, comment := 0, ' ', false
		for rest := line; rest != ""; {
			column++
			c, size := utf8.DecodeRuneInString(rest)
			if c == utf8.RuneError && size == 1 {
				r.add(i+1, column, "byte 0x%02x is not UTF-8", rest[0])
				return false
			}
			comment = comment || (c == '#' && before == ' ')
			switch {
			case c == '\t' && !comment:
				r.add(i+1, column, "tab; indent and separate with blanks")
				return false
			case unicode.IsControl(c) && c != '\t':
				r.add(i+1, column, "control character %U", c)
				return false
			}
			before = c
			rest = rest[size:]
		}
	}
	return true
}

// unwanted are the parts of YAML that no configuration needs. Without them each line means what
// it says, and nothing expands.
var unwanted = map[token.Type]string{
	token.AnchorType:     "anchors (&) are",
	token.AliasType:      "aliases (*) are",
	token.MergeKeyType:   "merge keys (<<) are",
	token.TagType:        "tags (!) are",
	token.DirectiveType:  "directives (%) are",
	token.MappingKeyType: "the explicit key sign (?) is",
	token.LiteralType:    "block strings (|) are",
	token.FoldedType:     "block strings (>) are",
}

// checkTokens refuses parts of YAML that a configuration must not have, and input that the
// parser cannot handle.
func checkTokens(tokens token.Tokens, r *report) bool {
	if len(tokens) > maxTokens {
		p := tokens[maxTokens].Position
		r.add(p.Line, p.Column, "too long; a file has at most %d words and signs", maxTokens)
		return false
	}
	var started, ended bool
	var shape shape
	for i, t := range tokens {
		p := t.Position
		what, isUnwanted := unwanted[t.Type]
		msg := ""
		switch {
		case t.Type == token.InvalidType:
			msg = "not YAML: " + t.Error
		case isUnwanted:
			msg = what + " not taken here; write the value out"
		case t.Type == token.CommentType:
			continue
		case t.Type == token.DocumentEndType:
			ended = true
			continue
		case t.Type == token.DocumentHeaderType && started:
			msg = "second document; a file holds one"
		case ended:
			msg = "content after the end of the document (...)"
		case t.Type == token.MappingValueType && i > 0 && tokens[i-1].Position.Line == p.Line:
			// A key's place is its indentation, not that of its colon.
			p = tokens[i-1].Position
			msg = shape.add(t.Type, p.Column)
		default:
			msg = shape.add(t.Type, p.Column)
		}
		if msg != "" {
			r.add(p.Line, p.Column, "%s", msg)
			return false
		}
		started = true
	}
	return true
}

// shape tracks the depth and length of the collections of a file.
type shape struct {
	depth int                     // open braces and brackets
	keys  [maxBlockColumn + 1]int // keys of the open block mappings, by column
}

// add handles the next token, with the column of its collection, and returns an error message, ""
// if there is none.
func (s *shape) add(t token.Type, column int) string {
	switch t {
	case token.MappingStartType, token.SequenceStartType:
		s.depth++
		if s.depth > maxFlowDepth {
			return "nested too deep"
		}
	case token.MappingEndType, token.SequenceEndType:
		s.depth = max(0, s.depth-1)
	case token.SequenceEntryType, token.MappingValueType:
		switch {
		case s.depth > 0 && t == token.SequenceEntryType:
			return "not YAML: a list in braces or brackets has no dashes"
		case s.depth > 0:
			return ""
		case column < 1 || column > maxBlockColumn:
			return "nested too deep"
		}
		clear(s.keys[column+1:])
		if t == token.MappingValueType {
			s.keys[column]++
		}
		if s.keys[column] > maxKeys {
			return "too many keys in one mapping"
		}
	}
	return ""
}
