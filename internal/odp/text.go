package odp

import (
	"fmt"
	"strings"

	"dpifd/internal/netlink"
)

// Text writes and reads flow keys and actions in the syntax of ovs-dpctl. The zero value writes
// and reads ports as numbers. A Text is safe for concurrent use if its functions are.
type Text struct {
	// PortName returns the name to write for a port, "" to write its number.
	PortName func(PortNo) string
	// PortNumber looks up a port name. If it is nil, only numbers are read.
	PortNumber func(name string) (PortNo, bool)
	// Verbose also writes wildcarded attributes and fields, as `ovs-dpctl dump-flows -m` does.
	Verbose bool
}

// SyntaxError is the place of a syntax error and what was expected there.
type SyntaxError struct {
	Line, Column int // from 1; columns count bytes
	Msg          string
}

func (e *SyntaxError) Error() string { return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Msg) }

// maxTextNesting limits nested lists; the kernel accepts 16 levels of actions
// (OVS_COPY_ACTIONS_MAX_DEPTH, net/openvswitch/flow_netlink.c, 6.12).
const maxTextNesting = 16

// maxParens limits nested parentheses in input. It exceeds the nesting of any output within
// maxTextNesting.
const maxParens = 4 * maxTextNesting

// AppendKey appends the text of key, a list of OVS_KEY_ATTR_* attributes, to dst. mask is the
// flow's, with the same shape; nil means that every bit of the key is matched. Malformed
// attributes are written as such, in a form that ParseKey refuses.
func (t Text) AppendKey(dst, key, mask []byte) []byte {
	w := t.writer(dst)
	if len(key) == 0 && len(mask) == 0 {
		w.puts("<empty>")
	} else {
		keySyntax{}.append(w, key, mask, mask == nil)
	}
	return w.buf
}

// AppendActions appends the text of actions, a list of OVS_ACTION_ATTR_* attributes, to dst; an
// empty list is "drop". Malformed attributes are written as such, in a form that ParseActions
// refuses.
func (t Text) AppendActions(dst, actions []byte) []byte {
	w := t.writer(dst)
	actionList{}.append(w, actions, nil, true)
	return w.buf
}

// ParseKey reads a flow key with or without masks and returns two new lists of
// OVS_KEY_ATTR_* attributes. Fields that the text does not name are wildcarded.
// The error is a *SyntaxError.
func (t Text) ParseKey(text string) (key, mask []byte, err error) {
	p := &parser{text: text, t: &t, masked: true}
	key, mask = keySyntax{}.parse(p)
	p.end()
	if p.err != nil {
		return nil, nil, p.err
	}
	return key, mask, nil
}

// ParseActions reads actions and returns a new list of OVS_ACTION_ATTR_*
// attributes, which is empty for "drop". The error is a *SyntaxError.
func (t Text) ParseActions(text string) ([]byte, error) {
	p := &parser{text: text, t: &t}
	actions, _ := actionList{}.parse(p)
	p.end()
	if p.err != nil {
		return nil, p.err
	}
	return actions, nil
}

func (t Text) writer(dst []byte) *writer {
	return &writer{buf: dst, start: len(dst), names: t.PortName, verbose: t.Verbose}
}

// syntax is how the payload of one attribute is written and read, without the
// name and parentheses around it.
type syntax interface {
	// append writes value under mask, or the whole value if exact.
	append(w *writer, value, mask []byte, exact bool)
	// parse reads up to the ")" that closes the attribute, or the text's end.
	// The mask has the shape of the value.
	parse(p *parser) (value, mask []byte)
	// fault returns what is wrong with a payload of n bytes, "" if nothing.
	fault(n int) string
}

// writer collects text.
type writer struct {
	buf     []byte
	start   int // offset of this writer's text in buf
	names   func(PortNo) string
	verbose bool
	depth   int
}

func (w *writer) puts(s string) { w.buf = append(w.buf, s...) }

func (w *writer) putf(format string, args ...any) { w.buf = fmt.Appendf(w.buf, format, args...) }

// sep writes the comma between elements of a list.
func (w *writer) sep() {
	if n := len(w.buf); n > w.start && w.buf[n-1] != '(' && w.buf[n-1] != '{' {
		w.buf = append(w.buf, ',')
	}
}

// group writes name(...).
func (w *writer) group(name string, fn func()) {
	w.sep()
	w.puts(name)
	w.buf = append(w.buf, '(')
	fn()
	w.buf = append(w.buf, ')')
}

// nest calls fn one level deeper, and reports whether that was allowed.
func (w *writer) nest(fn func()) {
	if w.depth == maxTextNesting {
		w.puts("***nested too deeply***")
		return
	}
	w.depth++
	fn()
	w.depth--
}

// list calls fn for each attribute of b and writes the rest of a malformed list.
func (w *writer) list(b []byte, fn func(typ uint16, data []byte)) {
	it, used := netlink.NewAttrs(b), 0
	for it.Next() {
		fn(it.Type(), it.Data())
		used = min(len(b), used+(4+len(it.Data())+3)&^3)
	}
	if it.Err() != nil {
		w.sep()
		w.putf("***%d leftover bytes*** (% x)", len(b)-used, b[used:])
	}
}

// port writes the name or number of a port.
func (w *writer) port(no PortNo) {
	name := ""
	if w.names != nil {
		name = w.names(no)
	}
	switch {
	case name == "":
		w.puts(no.String())
	case plainName(name):
		w.puts(name)
	default:
		w.buf = append(w.buf, '"')
		w.puts(strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(name))
		w.buf = append(w.buf, '"')
	}
}

// plainName reports whether a port's name needs no quotes: it consists of ordinary characters
// and is neither a number nor an action.
func plainName(name string) bool {
	if name[0] >= '0' && name[0] <= '9' || isActionName(name) {
		return false
	}
	for i := range len(name) {
		if !isNameByte(name[i]) {
			return false
		}
	}
	return true
}

func isNameByte(c byte) bool {
	return isWordByte(c) || c == '.' || c == '-' || c == '@'
}

// raw writes an attribute without syntax as ovs-dpctl does: key31(0a 0b 0c), or key31(0a 0b
// 0c/ff ff 00) under a mask. Without a value, as in key31(/ff), the attribute is only in the
// mask.
func (w *writer) raw(prefix string, typ uint16, value, mask []byte, exact bool) {
	w.sep()
	w.putf("%s%d(% x", prefix, typ, value)
	if !exact && !(len(mask) == len(value) && allOnes(mask)) {
		w.putf("/% x", mask)
	}
	w.buf = append(w.buf, ')')
}

// bad writes an attribute that its syntax cannot show.
func (w *writer) bad(prefix string, typ uint16, fault string, value []byte) {
	w.sep()
	w.putf("%s%d(%s: % x)", prefix, typ, fault, value)
}

func allOnes(b []byte) bool {
	for _, c := range b {
		if c != 0xff {
			return false
		}
	}
	return true
}

func allZeros(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

func allBits(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = 0xff
	}
	return b
}
