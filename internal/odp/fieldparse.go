package odp

import (
	"slices"
	"strconv"
	"strings"
)

// parse reads the field's value and mask into payloads that have room for it; for a field with
// size 0 it returns the payload. Without a mask in the text the mask is full.
func (f *field) parse(p *parser, value, mask []byte) ([]byte, []byte) {
	switch f.form {
	case bytesForm:
		p.expect("0x")
		value = append(value[:f.off], p.bytes()...)
		mask = allBits(len(value))
		if p.slash() {
			p.expect("0x")
			mask = append(mask[:f.off], p.bytes()...)
		}
		return value, mask
	case stringForm:
		s := p.take(func(c byte) bool { return isNameByte(c) || c == ':' })
		if s == "" {
			p.expected("a name")
		}
		value = append(append(value[:f.off], s...), 0)
		return value, allBits(len(value))
	case flagsForm:
		f.parseFlags(p, value, mask)
		return value, mask
	}
	f.parseValue(p, value, false)
	if p.slash() {
		f.parseValue(p, mask, true)
	} else if f.isNumber() {
		f.put(mask, f.limit())
	} else {
		copy(f.in(mask), allBits(f.size))
	}
	return value, mask
}

func (f *field) parseValue(p *parser, b []byte, isMask bool) {
	at := p.pos
	switch f.form {
	case macForm:
		copy(f.in(b), p.mac())
	case ip4Form:
		copy(f.in(b), p.ip4())
	case ip6Form:
		copy(f.in(b), p.ip6())
	case wide:
		copy(f.in(b), f.order(p.hexNumber(f.size)))
	case percentForm:
		f.put(b, p.percent())
	case portForm:
		if isMask {
			f.put(b, p.number(f.limit()))
		} else {
			f.put(b, uint64(p.port()))
		}
	case fragForm:
		if c := p.peek(); c >= '0' && c <= '9' {
			f.put(b, p.number(f.limit()))
			return
		}
		i := slices.Index(fragNames[:], p.word())
		if i < 0 {
			p.pos = at
			p.expected(strings.Join(fragNames[:], ", "))
			return
		}
		f.put(b, uint64(i))
	default:
		scale := max(f.scale, 1)
		v := p.number(f.limit() * scale)
		if v%scale != 0 {
			p.fail(at, "%d is not a multiple of %d", v, scale)
		}
		f.put(b, v/scale)
	}
}

// percent reads a share of the largest 32-bit number.
func (p *parser) percent() uint64 {
	at := p.pos
	share, err := strconv.ParseFloat(p.take(func(c byte) bool { return c >= '0' && c <= '9' || c == '.' }), 64)
	if err != nil || share > 100 {
		p.pos = at
		p.expected("a percentage")
		return 0
	}
	p.expect("%")
	return fromPercent(share)
}

// parseFlags reads a|b, +a-b, a number, or a number and its mask.
func (f *field) parseFlags(p *parser, value, mask []byte) {
	var v, m uint64
	switch c := p.peek(); {
	case c >= '0' && c <= '9' && !p.flagsFollow():
		v, m = p.number(f.limit()), f.limit()
		if p.slash() {
			m = p.number(f.limit())
		}
	case c == '+' || c == '-':
		if !p.masked {
			p.fail(p.pos, "+ and - are not allowed here: flags are set, joined by |")
		}
		for c := p.peek(); c == '+' || c == '-'; c = p.peek() {
			p.pos++
			bit := f.parseBit(p)
			m |= bit
			if c == '+' {
				v |= bit
			}
		}
	default:
		m = f.limit()
		for more := true; more; more = p.accept("|") || p.accept(",") {
			v |= f.parseBit(p)
		}
	}
	f.put(value, v)
	f.put(mask, m)
	if m == f.limit() { // bits without a flag are matched too
		copy(f.in(mask), allBits(f.size))
	}
}

// flagsFollow reports whether the number that comes next is the first of flags
// joined by "|".
func (p *parser) flagsFollow() bool {
	rest := p.text[p.pos:]
	end := strings.IndexFunc(rest, func(r rune) bool { return !isWordByte(byte(r)) })
	return end >= 0 && rest[end] == '|'
}

// parseBit reads the name of a flag, or the number of a flag without a name.
func (f *field) parseBit(p *parser) uint64 {
	at := p.pos
	if c := p.peek(); c >= '0' && c <= '9' {
		return p.number(f.limit())
	}
	// Names such as [200] are in brackets.
	name := p.take(func(c byte) bool { return isWordByte(c) || c == '[' || c == ']' })
	i := slices.Index(f.names, name)
	if name == "" || i < 0 {
		p.pos = at
		names := slices.DeleteFunc(slices.Clone(f.names), func(s string) bool { return s == "" })
		p.expected("one of " + strings.Join(names, ", "))
		return 0
	}
	return 1 << i
}
