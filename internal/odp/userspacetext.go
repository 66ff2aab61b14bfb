package odp

import "slices"

var userspaceSyntax = inAction(
	flatNumber(UserspaceAttrPID, "pid", 4, decimal, true),
	cookieMember("sFlow", 1, nil,
		field{name: "vid", off: 24, size: 2, width: 12},
		field{name: "pcp", off: 24, size: 2, width: 3, shift: 13},
		field{name: "output", off: 28, size: 4, native: true}),
	cookieMember("slow_path", 2, nil,
		field{off: 28, size: 4, native: true, form: flagsForm, comma: true,
			names: []string{"cfm", "bfd", "lacp", "stp", "lldp", "action", "match"}}),
	cookieMember("flow_sample", 3, []string{"", "ingress", "egress"},
		field{name: "probability", off: 24, size: 2, native: true},
		field{name: "collector_set_id", off: 28, size: 4, native: true},
		field{name: "obs_domain_id", off: 32, size: 4, native: true},
		field{name: "obs_point_id", off: 36, size: 4, native: true},
		field{name: "output_port", off: 40, size: 4, native: true, form: portForm}),
	cookieMember("ipfix", 4, nil,
		field{name: "output_port", off: 24, size: 4, native: true, form: portForm}),
	cookieMember("controller", 5, nil,
		field{name: "reason", off: 26, size: 2, native: true},
		field{name: "dont_send", off: 24, size: 1},
		field{name: "continuation", off: 25, size: 1},
		field{name: "recirc_id", off: 28, size: 4, native: true},
		field{name: "rule_cookie", off: 32, size: 8, form: hexadecimal},
		field{name: "controller_id", off: 40, size: 2, native: true},
		field{name: "max_len", off: 42, size: 2, native: true}),
	member{typ: UserspaceAttrUserdata, name: "userdata", style: group, syntax: bytesSyntax{}},
	member{typ: UserspaceAttrActions, name: "actions", style: lone},
	flatNumber(UserspaceAttrEgressTunPort, "tunnel_out_port", 4, portForm, true),
)

// bytesSyntax is bytes in hexadecimal.
type bytesSyntax struct{}

func (bytesSyntax) fault(int) string { return "" }

func (bytesSyntax) append(w *writer, value, _ []byte, _ bool) { w.putf("%x", value) }

func (bytesSyntax) parse(p *parser) (value, mask []byte) {
	value = p.bytes()
	return value, nil
}

// cookieSyntax is userdata that tells ovs-vswitchd why it gets a packet: struct
// user_action_cookie, lib/odp-util.h of Open vSwitch 3.1. It starts with type, OpenFlow in-port
// and bridge, which the text cannot express: if they are set, the cookie is written as plain
// userdata.
type cookieSyntax struct {
	layout
	words []string // of the number at cookieDirection, "" is not written
}

const cookieLen = 48

var (
	cookieTCI       = field{off: 24, size: 2}
	cookiePresent   = field{off: 24, size: 2, width: 1, shift: 12}
	cookieDirection = field{off: 44, size: 4, native: true}
)

func cookieMember(name string, typ uint64, words []string, fields ...field) member {
	unset := make([]byte, cookieLen)
	(&field{size: 2, native: true}).put(unset, typ)
	(&field{off: 4, size: 4, native: true}).put(unset, 0xffff) // OFPP_NONE
	c := &cookieSyntax{layout: layout{size: cookieLen, unset: unset, fields: fields, complete: true}, words: words}
	return member{typ: UserspaceAttrUserdata, name: name, style: group, syntax: c, is: c.shows}
}

// isSFlow reports whether the cookie has a TCI. Its present bit is set unless
// the rest is zero, so that the text leaves it out.
func (c *cookieSyntax) isSFlow() bool { return c.fields[0].name == "vid" }

// shows reports whether the text can express all of b.
func (c *cookieSyntax) shows(b []byte) bool {
	b = slices.Clone(b)
	if c.isSFlow() {
		if tci := cookieTCI.get(b); tci != 0 && cookiePresent.get(b) == 0 || tci == 0x1000 {
			return false
		}
		cookiePresent.put(b, 0)
	}
	if c.words != nil && cookieDirection.get(b) < uint64(len(c.words)) {
		cookieDirection.put(b, 0)
	}
	return c.covers(b)
}

func (c *cookieSyntax) append(w *writer, value, _ []byte, _ bool) {
	c.layout.append(w, value, nil, true)
	if c.words != nil {
		if word := c.words[cookieDirection.get(value)]; word != "" {
			w.sep()
			w.puts(word)
		}
	}
}

func (c *cookieSyntax) parse(p *parser) (value, mask []byte) {
	if c.scalar() {
		return c.layout.parse(p)
	}
	value, mask = c.zero()
	var seen uint64
	p.list(func() {
		at := p.pos
		if i := slices.Index(c.words, p.word()); i > 0 {
			cookieDirection.put(value, uint64(i))
			return
		}
		p.pos = at
		if i := c.parseName(p); i >= 0 {
			c.parseField(p, i, &seen, value, mask)
		}
	})
	c.requireAll(p, seen)
	if c.isSFlow() && cookieTCI.get(value) != 0 {
		cookiePresent.put(value, 1)
	}
	return value, mask
}
