package odp

import (
	"encoding/binary"
	"net/netip"
	"strings"

	"dpifd/internal/netlink"
)

// Attributes of enum ovs_nat_attr, linux/openvswitch.h, Linux 6.12.
const (
	natSrc = iota + 1
	natDst
	natIPMin
	natIPMax
	natProtoMin
	natProtoMax
	natPersistent
	natProtoHash
	natProtoRandom
)

var natFlags = []struct {
	typ  uint16
	name string
}{{natPersistent, "persistent"}, {natProtoHash, "hash"}, {natProtoRandom, "random"}}

// natSyntax is the content of nat(...) in a ct action: src=10.0.0.1-10.0.0.9:1024-2047,hash.
type natSyntax struct{}

func (natSyntax) fault(int) string { return "" }

// shows reports whether the text can express b.
func (natSyntax) shows(b []byte) bool {
	ok := true
	it := netlink.NewAttrs(b)
	var seen [natProtoRandom + 1]int // lengths and one
	for it.Next() {
		typ, n := it.Type(), len(it.Data())
		if typ == 0 || typ > natProtoRandom || seen[typ] != 0 {
			return false
		}
		seen[typ] = n + 1
		switch typ {
		case natIPMin, natIPMax:
			ok = ok && (n == 4 || n == 16)
		case natProtoMin, natProtoMax:
			ok = ok && n == 2
		default:
			ok = ok && n == 0
		}
	}
	typed := seen[natSrc] != 0 || seen[natDst] != 0
	return ok && it.Err() == nil && (typed || len(b) == 0) &&
		(seen[natSrc] == 0 || seen[natDst] == 0) &&
		(seen[natIPMax] == 0 || seen[natIPMax] == seen[natIPMin]) &&
		(seen[natProtoMin] == 0 || seen[natIPMin] != 0) &&
		(seen[natProtoMax] == 0 || seen[natProtoMin] != 0)
}

func (natSyntax) append(w *writer, b, _ []byte, _ bool) {
	if len(b) == 0 {
		return
	}
	name := "src"
	if netlink.FindAttr(b, natDst) != nil {
		name = "dst"
	}
	w.puts(name)
	port := netlink.FindAttr(b, natProtoMin)
	for i, ip := range [][]byte{netlink.FindAttr(b, natIPMin), netlink.FindAttr(b, natIPMax)} {
		if addr, ok := netip.AddrFromSlice(ip); ok {
			w.puts([]string{"=", "-"}[i])
			if port != nil && addr.Is6() {
				w.puts("[" + addr.String() + "]")
			} else {
				w.puts(addr.String())
			}
		}
	}
	if port != nil {
		w.putf(":%d", binary.NativeEndian.Uint16(port))
	}
	if port = netlink.FindAttr(b, natProtoMax); port != nil {
		w.putf("-%d", binary.NativeEndian.Uint16(port))
	}
	for _, f := range natFlags {
		if netlink.FindAttr(b, f.typ) != nil {
			w.sep()
			w.puts(f.name)
		}
	}
}

func (natSyntax) parse(p *parser) (value, mask []byte) {
	var e netlink.Encoder
	typed := false
	p.list(func() {
		at := p.pos
		name := p.word()
		for _, f := range natFlags {
			if typed && name == f.name {
				if netlink.FindAttr(e.Bytes(), f.typ) != nil {
					p.fail(at, "%s is given twice", name)
				}
				e.Flag(f.typ)
				return
			}
		}
		switch {
		case !typed && name == "src":
			e.Flag(natSrc)
		case !typed && name == "dst":
			e.Flag(natDst)
		default:
			p.pos = at
			if typed {
				p.expected("one of persistent, hash, random")
			} else {
				p.expected("src or dst")
			}
			return
		}
		typed = true
		if p.accept("=") {
			p.natRange(&e)
		}
	})
	return e.Bytes(), nil
}

// natRange reads addresses and ports.
func (p *parser) natRange(e *netlink.Encoder) {
	low, bracket := p.natAddress()
	e.Attr(natIPMin, low.AsSlice())
	if at := p.pos; p.accept("-") {
		high, _ := p.natAddress()
		e.Attr(natIPMax, high.AsSlice())
		if high.Is4() != low.Is4() || high.Less(low) {
			p.fail(at+1, "the range ends before it begins, or has two kinds of addresses")
		}
	}
	if low.Is6() && !bracket || !p.accept(":") {
		return
	}
	first := p.number(1<<16 - 1)
	e.Uint16(natProtoMin, uint16(first))
	if at := p.pos; p.accept("-") {
		last := p.number(1<<16 - 1)
		e.Uint16(natProtoMax, uint16(last))
		if last < first {
			p.fail(at+1, "the range ends before it begins")
		}
	}
}

// natAddress reads an address, and whether it stands in brackets.
func (p *parser) natAddress() (a netip.Addr, bracket bool) {
	if p.accept("[") {
		a = p.address("an IPv6 address", netip.Addr.Is6)
		p.expect("]")
		return a, true
	}
	a = p.address("an IP address", netip.Addr.IsValid)
	if strings.HasPrefix(p.text[p.pos:], "[") {
		p.expected(`":" or "-"`)
	}
	return a, false
}
