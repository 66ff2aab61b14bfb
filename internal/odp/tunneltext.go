package odp

import "strconv"

// The attributes are those of enum ovs_tunnel_key_attr and ovs_nsh_key_attr,
// linux/openvswitch.h, Linux 6.12.

func flatNumber(typ uint16, name string, size int, as form, native bool) member {
	return member{typ: typ, syntax: &layout{size: size, fields: []field{{name: name, size: size, form: as,
		native: native}}}}
}

var tunnelSyntax = &nested{
	members: []member{
		flatNumber(0, "tun_id", 8, hexadecimal, false),
		flatNumber(1, "src", 4, ip4Form, false),
		flatNumber(2, "dst", 4, ip4Form, false),
		flatNumber(12, "ipv6_src", 16, ip6Form, false),
		flatNumber(13, "ipv6_dst", 16, ip6Form, false),
		flatNumber(3, "tos", 1, hexadecimal, false),
		flatNumber(4, "ttl", 1, decimal, false),
		flatNumber(9, "tp_src", 2, decimal, false),
		flatNumber(10, "tp_dst", 2, decimal, false),
		{typ: 11, name: "vxlan", style: group, syntax: &nested{members: []member{
			{typ: 1, name: "gbp", style: group, syntax: gbpLayout}, // OVS_VXLAN_EXT_GBP
		}}},
		{typ: 8, name: "geneve", style: group, syntax: geneveSyntax{}, is: geneveSyntax{}.shows},
		{typ: 15, name: "erspan", style: group, syntax: erspanSyntax{}, is: erspanSyntax{}.shows},
		{typ: 7, name: "oam", style: bit},
		{typ: 5, name: "df", style: bit},
		{typ: 6, name: "csum", style: bit},
	},
	implied: "key", impliedType: 0, impliedSize: 8,
}

var gbpLayout = &layout{size: 4, fields: []field{
	{name: "id", size: 4, native: true, width: 16},
	{name: "flags", size: 4, native: true, width: 8, shift: 16, form: hexadecimal},
}}

var nshSyntax = &nested{members: []member{
	{typ: 1, syntax: &layout{size: 8, fields: []field{
		{name: "flags", off: 0, size: 1},
		{name: "ttl", off: 1, size: 1},
		{name: "mdtype", off: 2, size: 1},
		{name: "np", off: 3, size: 1},
		{name: "spi", off: 4, size: 4, width: 24, shift: 8, form: hexPlain, maskForm: hex8},
		{name: "si", off: 4, size: 4, width: 8},
	}}},
	{typ: 2, syntax: &layout{size: 16, fields: []field{
		{name: "c1", off: 0, size: 4, form: hexPlain, maskForm: hex8},
		{name: "c2", off: 4, size: 4, form: hexPlain, maskForm: hex8},
		{name: "c3", off: 8, size: 4, form: hexPlain, maskForm: hex8},
		{name: "c4", off: 12, size: 4, form: hexPlain, maskForm: hex8},
	}}},
	{typ: 3, syntax: &layout{fields: []field{{name: "md2", form: bytesForm}}}},
}}

// geneveSyntax is the options of a Geneve header: {...}{...}.
type geneveSyntax struct{}

// geneveHeader is struct geneve_opt, net/geneve.h: class, type, and the length
// of what follows in words. Its upper three bits are reserved.
var geneveHeader = &layout{size: 4, fields: []field{
	{name: "class", off: 0, size: 2, form: hexadecimal},
	{name: "type", off: 2, size: 1, form: hexadecimal},
	{name: "len", off: 3, size: 1, width: 5, scale: 4, shown: true},
}}

func (geneveSyntax) fault(int) string { return "" }

// shows reports whether options are well-formed and without reserved bits.
func (geneveSyntax) shows(b []byte) bool {
	for len(b) >= 4 {
		n := 4 + int(b[3]&0x1f)*4
		if n > len(b) || b[3]&0xe0 != 0 {
			return false
		}
		b = b[n:]
	}
	return len(b) == 0
}

func (geneveSyntax) append(w *writer, value, mask []byte, exact bool) {
	if !exact && len(mask) != len(value) {
		w.putf("mask of another length, %d: % x", len(mask), value)
		return
	}
	for len(value) > 0 {
		n := 4 + int(value[3]&0x1f)*4
		var m []byte
		if !exact {
			m, mask = mask[:n], mask[n:]
		}
		w.puts("{")
		geneveHeader.append(w, value[:4], m, exact)
		if n > 4 {
			f := &field{off: 4, size: n - 4, form: wide}
			if empty := !exact && allZeros(m[4:]); !empty || w.verbose {
				w.sep()
				f.append(w, value[:n], m, false)
			}
		}
		w.puts("}")
		value = value[n:]
	}
}

func (geneveSyntax) parse(p *parser) (value, mask []byte) {
	for p.space(); p.accept("{"); p.space() {
		v, m := geneveHeader.zero()
		var seen uint64
		for p.space(); p.peek() != '}' && p.err == nil; p.space() {
			if c := p.peek(); c >= '0' && c <= '9' && len(v) == 4 {
				n := int(v[3]) * 4
				v, m = append(v, make([]byte, n)...), append(m, make([]byte, n)...)
				f := &field{off: 4, size: n, form: wide}
				if n == 0 {
					p.fail(p.pos, "an option of len=0 has no data")
					return nil, nil
				}
				f.parse(p, v, m)
			} else if i := geneveHeader.parseName(p); i >= 0 {
				if len(v) > 4 {
					p.fail(p.pos, "an option's data comes last")
				}
				geneveHeader.parseField(p, i, &seen, v, m)
			}
			if p.space(); p.peek() != '}' {
				p.expect(",")
			}
		}
		p.expect("}")
		if n := int(v[3]) * 4; len(v) == 4 {
			v, m = append(v, make([]byte, n)...), append(m, make([]byte, n)...)
		}
		value, mask = append(value, v...), append(mask, m...)
	}
	return value, mask
}

// erspanSyntax is struct erspan_metadata, linux/erspan.h: a version in host byte order, then
// the fields of that version.
type erspanSyntax struct{}

var (
	erspanVersion = field{name: "ver", size: 4, native: true, shown: true}
	erspanLayouts = map[uint64]*layout{
		1: {size: 12, fields: []field{erspanVersion, {name: "idx", off: 4, size: 4, form: hexadecimal, always: true}}},
		2: {size: 12, fields: []field{erspanVersion,
			{name: "dir", off: 11, size: 1, width: 1, shift: 3, always: true},
			{name: "hwid", off: 11, size: 1, width: 4, shift: 4, form: hexadecimal, always: true}}},
	}
)

func (erspanSyntax) fault(n int) string {
	if n != 12 {
		return "bad length " + strconv.Itoa(n) + ", expected 12"
	}
	return ""
}

// shows reports whether the text can express all of b.
func (erspanSyntax) shows(b []byte) bool {
	l := erspanLayouts[erspanVersion.load(b)]
	return l != nil && l.covers(b)
}

func (erspanSyntax) append(w *writer, value, mask []byte, exact bool) {
	erspanLayouts[erspanVersion.load(value)].append(w, value, mask, exact)
}

func (erspanSyntax) parse(p *parser) (value, mask []byte) {
	at := p.pos
	p.space()
	if !p.accept("ver=") {
		p.expected("ver=1 or ver=2")
		return nil, nil
	}
	l := erspanLayouts[p.number(2)]
	if l == nil {
		p.fail(at, "ERSPAN has no such version")
		return nil, nil
	}
	p.pos = at
	return l.parse(p)
}
