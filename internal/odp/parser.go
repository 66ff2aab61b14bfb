package odp

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

// parser reads a text from start to end. The first error latches; results after it are
// meaningless, and all loops end.
type parser struct {
	text   string
	pos    int
	t      *Text
	masked bool // values may have masks
	depth  int
	err    *SyntaxError
}

// fail records an error at a place in the text.
func (p *parser) fail(at int, format string, args ...any) {
	if p.err != nil {
		return
	}
	before := p.text[:at]
	line := 1 + strings.Count(before, "\n")
	p.err = &SyntaxError{Line: line, Column: at - strings.LastIndexByte(before, '\n'), Msg: fmt.Sprintf(format, args...)}
}

// expected fails and names what the parser expected at its position.
func (p *parser) expected(what string) {
	p.fail(p.pos, "expected %s, found %s", what, p.found())
}

// found describes the text at the parser's position.
func (p *parser) found() string {
	if p.pos == len(p.text) {
		return "the end"
	}
	end := p.pos
	for end < len(p.text) && isNameByte(p.text[end]) {
		end++
	}
	return strconv.Quote(p.text[p.pos:max(end, p.pos+1)])
}

// end fails unless all has been read.
func (p *parser) end() {
	if p.space(); p.pos < len(p.text) {
		p.expected("the end")
	}
}

// peek returns the next byte, 0 at the end and after an error.
func (p *parser) peek() byte {
	if p.err != nil || p.pos == len(p.text) {
		return 0
	}
	return p.text[p.pos]
}

func (p *parser) space() {
	for c := p.peek(); c == ' ' || c == '\t' || c == '\n' || c == '\r'; c = p.peek() {
		p.pos++
	}
}

// accept reads s if it comes next.
func (p *parser) accept(s string) bool {
	if p.err != nil || !strings.HasPrefix(p.text[p.pos:], s) {
		return false
	}
	p.pos += len(s)
	return true
}

func (p *parser) expect(s string) {
	if !p.accept(s) {
		p.expected(strconv.Quote(s))
	}
}

// take reads the longest run of bytes that ok accepts.
func (p *parser) take(ok func(byte) bool) string {
	start := p.pos
	for p.peek() != 0 && ok(p.text[p.pos]) {
		p.pos++
	}
	return p.text[start:p.pos]
}

func isWordByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_'
}

func isHexByte(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'
}

func (p *parser) word() string { return p.take(isWordByte) }

// list calls fn for each element up to a ")", which it does not read, or the end of the text.
// Elements are separated by commas or spaces. fn must read at least one byte or fail.
func (p *parser) list(fn func()) {
	for {
		p.space()
		if c := p.peek(); c == 0 || c == ')' {
			return
		}
		fn()
		from := p.pos
		for p.space(); p.accept(","); {
			p.space()
		}
		if c := p.peek(); from == p.pos && c != 0 && c != ')' {
			p.expected(`"," or ")"`)
		}
	}
}

// group reads (...) around what fn reads.
func (p *parser) group(fn func()) {
	if p.depth == maxParens {
		p.fail(p.pos, "more than %d parentheses inside each other", maxParens)
	}
	p.depth++
	p.expect("(")
	fn()
	p.space()
	p.expect(")")
	p.depth--
}

// slash reads the "/" before a mask. It fails if masks are not allowed.
func (p *parser) slash() bool {
	if p.peek() != '/' {
		return false
	}
	if !p.masked {
		p.fail(p.pos, "a mask is not allowed here")
	}
	p.pos++
	return true
}

// number reads an unsigned number that is not above limit, as C writes
// them: decimal, 0x hexadecimal, 0 octal.
func (p *parser) number(limit uint64) uint64 {
	at := p.pos
	s := p.word()
	digits, base := s, 10
	switch {
	case strings.HasPrefix(s, "0x"), strings.HasPrefix(s, "0X"):
		digits, base = s[2:], 16
	case len(s) > 1 && s[0] == '0':
		digits, base = s[1:], 8
	}
	v, err := strconv.ParseUint(digits, base, 64)
	if err != nil && !isRange(err) {
		p.pos = at
		p.expected("a number")
		return 0
	}
	if err != nil || v > limit {
		p.fail(at, "%s is above %d", s, limit)
	}
	return v
}

func isRange(err error) bool {
	e, ok := err.(*strconv.NumError)
	return ok && e.Err == strconv.ErrRange
}

// hexNumber reads 0x and digits for n bytes, the last digit in the last byte.
func (p *parser) hexNumber(n int) []byte {
	at := p.pos
	if !p.accept("0x") && !p.accept("0X") {
		v := p.number(^uint64(0)) // small ones may be decimal
		b := make([]byte, max(n, 8))
		for i := range 8 {
			b[len(b)-1-i] = byte(v >> (8 * i))
		}
		if !allZeros(b[:len(b)-n]) {
			p.fail(at, "the number does not fit into %d bytes", n)
		}
		return b[len(b)-n:]
	}
	digits := strings.TrimLeft(p.take(isHexByte), "0")
	if len(digits) > 2*n {
		p.fail(at, "more than %d hexadecimal digits", 2*n)
		return make([]byte, n)
	}
	b, _ := hex.DecodeString(strings.Repeat("0", 2*n-len(digits)) + digits)
	return b
}

// bytes reads bytes in hexadecimal, optionally separated by spaces.
func (p *parser) bytes() []byte {
	at := p.pos
	digits := p.take(func(c byte) bool { return isHexByte(c) || c == ' ' })
	b, err := hex.DecodeString(strings.ReplaceAll(digits, " ", ""))
	if err != nil {
		p.fail(at, "an odd number of hexadecimal digits")
	}
	return b
}

func (p *parser) mac() []byte {
	at := p.pos
	b := make([]byte, 0, 6)
	for i := range 6 {
		if i > 0 && !p.accept(":") {
			break
		}
		v, err := strconv.ParseUint(p.take(isHexByte), 16, 8)
		if err != nil {
			break
		}
		b = append(b, byte(v))
	}
	if len(b) < 6 {
		p.pos = at
		p.expected("an Ethernet address")
		return make([]byte, 6)
	}
	return b
}

// address reads an IPv4 or IPv6 address. A colon after an IPv4 address is not read.
func (p *parser) address(what string, ok func(netip.Addr) bool) netip.Addr {
	at := p.pos
	s := p.take(func(c byte) bool { return isHexByte(c) || c == '.' || c == ':' })
	if host, _, found := strings.Cut(s, ":"); found && strings.Contains(host, ".") {
		s = host
	}
	a, err := netip.ParseAddr(s)
	if err != nil || !ok(a) {
		p.pos = at
		p.expected(what)
		return netip.Addr{}
	}
	p.pos = at + len(s)
	return a
}

func (p *parser) ip4() []byte {
	a := p.address("an IPv4 address", netip.Addr.Is4)
	if p.err != nil {
		return make([]byte, 4)
	}
	return a.AsSlice()
}

func (p *parser) ip6() []byte {
	a := p.address("an IPv6 address", netip.Addr.Is6)
	if p.err != nil {
		return make([]byte, 16)
	}
	return a.AsSlice()
}

// port reads a port's number or name.
func (p *parser) port() PortNo {
	at := p.pos
	if c := p.peek(); c >= '0' && c <= '9' {
		return PortNo(p.number(1<<32 - 1))
	}
	var name string
	if p.accept(`"`) {
		for c := p.peek(); c != '"' && c != 0; c = p.peek() {
			if c == '\\' && p.pos+1 < len(p.text) {
				p.pos++
			}
			name += p.text[p.pos : p.pos+1]
			p.pos++
		}
		p.expect(`"`)
	} else {
		name = p.take(isNameByte)
	}
	switch {
	case name == "":
		p.expected("a port")
	case p.t.PortNumber == nil:
		p.fail(at, "expected a port number, found %q", name)
	default:
		no, ok := p.t.PortNumber(name)
		if !ok {
			p.fail(at, "no port is named %q", name)
		}
		return no
	}
	return 0
}
