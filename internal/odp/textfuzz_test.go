package odp

import (
	"bytes"
	"encoding/hex"
	"math/rand/v2"
	"strings"
	"testing"

	"dpifd/internal/netlink"
)

// stable checks that a valid text is printed in a form that parses to the same and is printed the
// same.
func stable(t *testing.T, text string, again func(Text, string) (string, error)) {
	t.Helper()
	for _, verbose := range []bool{false, true} {
		w := ports
		w.Verbose = verbose
		once, err := again(w, text)
		if err != nil || strings.Contains(once, "***") || strings.Contains(once, ": ") {
			return // invalid, or with malformed raw attributes
		}
		if once == "" || once == "<empty>" {
			return
		}
		if twice, err := again(w, once); err != nil || twice != once {
			t.Errorf("text     %q\nis again %q\nand then %q, error %v", text, once, twice, err)
		}
	}
}

func FuzzParseKeyText(f *testing.F) {
	for _, tt := range keyTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, text string) { stable(t, text, keyAgain) })
}

func FuzzParseActionsText(f *testing.F) {
	for _, tt := range actionTests {
		f.Add(tt.in)
	}
	f.Fuzz(func(t *testing.T, text string) { stable(t, text, actionsAgain) })
}

// FuzzAppendKeyText prints arbitrary bytes, and parses the result if they are well-formed.
func FuzzAppendKeyText(f *testing.F) {
	for _, tt := range keyTests {
		key, mask, err := ports.ParseKey(tt.in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, mask)
		f.Add(key, []byte(nil))
		f.Add(key[:max(len(key)-1, 0)], mask)
	}
	f.Fuzz(func(t *testing.T, key, mask []byte) {
		for _, m := range [][]byte{mask, nil} {
			for _, verbose := range []bool{false, true} {
				w := ports
				w.Verbose = verbose
				text := string(w.AppendKey(nil, key, m))
				stable(t, text, keyAgain)
			}
		}
	})
}

// FuzzAppendActionsText prints arbitrary bytes, and parses the result if they are well-formed.
func FuzzAppendActionsText(f *testing.F) {
	for _, tt := range actionTests {
		actions, err := ports.ParseActions(tt.in)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(actions)
		if len(actions) > 0 {
			f.Add(actions[:len(actions)-1])
		}
	}
	f.Fuzz(func(t *testing.T, actions []byte) {
		text := string(ports.AppendActions(nil, actions))
		if len(actions) > 0 {
			stable(t, text, actionsAgain)
		}
	})
}

// random fills the fields of a structure and their masks, and no bits outside of fields.
func (l *layout) random(r *rand.Rand) (value, mask []byte) {
	value, mask = l.zero()
	for i := range l.fields {
		f := &l.fields[i]
		v, m := r.Uint64(), []uint64{0, ^uint64(0), r.Uint64()}[r.IntN(3)]
		switch {
		case f.form == presentForm:
			v, m = 1, 1
		case f.form == fragForm:
			v = uint64(r.IntN(5)) & m // unmatched bits are not printed
		case f.form == flagsForm:
			v &= m
		}
		if f.isNumber() {
			f.put(value, v&f.limit())
			f.put(mask, m&f.limit())
			if f.form == flagsForm && f.get(mask) == f.limit() {
				copy(f.in(mask), allBits(f.size))
			}
			continue
		}
		for j := range f.in(value) {
			f.in(value)[j], f.in(mask)[j] = byte(r.Uint64()), []byte{byte(m), byte(r.Uint64())}[r.IntN(2)]
		}
	}
	return value, mask
}

// TestKeyAttributesSurvive prints and parses random keys with every attribute that is a structure:
// the attributes must be identical.
func TestKeyAttributesSurvive(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 14))
	seen := map[uint16]int{}
	for range 2000 {
		var key, mask netlink.Encoder
		for _, i := range r.Perm(len(keyTable))[:1+r.IntN(6)] {
			k := keyTable[i]
			l, ok := k.syntax.(*layout)
			if !ok {
				continue
			}
			seen[k.typ]++
			value, m := l.random(r)
			if l.array {
				v2, m2 := l.random(r)
				value, m = append(value, v2...), append(m, m2...)
			}
			if k.typ == KeyAttrEthertype {
				value[0] |= 1
			}
			key.Attr(k.typ, value)
			mask.Attr(k.typ, m)
		}
		if r.IntN(2) == 0 {
			typ, raw := uint16(33+r.IntN(1000)), make([]byte, 1+r.IntN(9))
			for i := range raw {
				raw[i] = byte(r.Uint64())
			}
			key.Attr(typ, raw)
			mask.Attr(typ, raw)
		}
		if key.Len() == 0 {
			continue
		}
		text := string(Text{Verbose: true}.AppendKey(nil, key.Bytes(), mask.Bytes()))
		k2, m2, err := Text{}.ParseKey(text)
		if err != nil || !bytes.Equal(k2, key.Bytes()) || !bytes.Equal(m2, mask.Bytes()) {
			t.Fatalf("%s: error %v\nkey  %x\nread %x\nmask %x\nread %x", text, err, key.Bytes(), k2, mask.Bytes(), m2)
		}
	}
	for _, k := range keyTable {
		if _, ok := k.syntax.(*layout); ok && seen[k.typ] == 0 {
			t.Errorf("%s was not tested", k.name)
		}
	}
}

// TestExactKeySurvives: without a mask everything is printed and matched exactly.
func TestExactKeySurvives(t *testing.T) {
	f := frame{port: 7, src: macA, dst: macB, tags: []uint16{0x1064, 0xb005}, etherType: 0x0800,
		l3: []byte{10, 0, 0, 1, 10, 0, 0, 2, 6, 0, 64, 0}}
	const want = "recirc_id(0),dp_hash(0),skb_priority(0),in_port(veth-7),skb_mark(0)," +
		"eth(src=02:10:20:30:40:5a,dst=52:54:00:c0:ff:ee),eth_type(0x8100),vlan(vid=100,pcp=0)," +
		"encap(eth_type(0x8100),vlan(vid=5,pcp=5),encap(eth_type(0x0800)," +
		"ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=64,frag=no)))"
	text := string(ports.AppendKey([]byte("key "), f.key(), nil))
	if text != "key "+want {
		t.Fatalf("got  %s\nwant key %s", text, want)
	}
	key, mask, err := ports.ParseKey(want)
	if err != nil || !bytes.Equal(key, f.key()) {
		t.Errorf("error %v\ngot  %x\nwant %x", err, key, f.key())
	}
	if ok, err := MaskCovers(mask, allOnesLike(f.key())); !ok || err != nil {
		t.Errorf("the mask %x is not exact: %v", mask, err)
	}
}

// allOnesLike returns the exact mask of a key.
func allOnesLike(key []byte) []byte {
	return encode(func(e *netlink.Encoder) {
		walk(key, func(typ uint16, data []byte) {
			if typ == KeyAttrEncap {
				e.Attr(typ, allOnesLike(data))
			} else {
				e.Attr(typ, allBits(len(data)))
			}
		})
	})
}

// TestMalformedText prints malformed attributes.
func TestMalformedText(t *testing.T) {
	attr := func(typ uint16, b ...byte) []byte {
		return encode(func(e *netlink.Encoder) { e.Attr(typ, b) })
	}
	key := func(key, mask []byte) string { return string(Text{}.AppendKey(nil, key, mask)) }
	actions := func(b []byte) string { return string(Text{}.AppendActions(nil, b)) }
	deep := []byte{1}
	for range 40 {
		deep = attr(ActionAttrClone, deep...)
	}
	tests := []struct{ name, got, want string }{
		{"empty", key(nil, nil), "<empty>"},
		{"short IPv4", key(attr(KeyAttrIPv4, 1, 2, 3), nil), "key7(bad length 3, expected 12: 01 02 03)"},
		{"no MPLS", key(attr(KeyAttrMPLS), nil), "key21(bad length 0, expected a multiple of 4: )"},
		{"short mask", key(attr(KeyAttrCTZone, 1, 0), attr(KeyAttrCTZone, 1)), "key23(mask of another length, 1: 01 00)"},
		{"tunnel only in the mask", key(attr(KeyAttrSkbMark, 1, 0, 0, 0), append(attr(KeyAttrTunnel, attr(4, 0)...), attr(KeyAttrSkbMark, 1, 1, 0, 0)...)), "skb_mark(0x1/0x101)"},
		{"tunnel flag only in the mask", key(nil, attr(KeyAttrTunnel, attr(5)...)), "key16(/04 00 05 00)"},
		{"list mask", key(attr(KeyAttrEthertype, 8, 0), []byte{3}), ""},
		{"leftover", key(append(attr(KeyAttrSkbMark, 1, 0, 0, 0), 9, 0, 1), nil), "skb_mark(0x1),***3 leftover bytes*** (09 00 01)"},
		{"leftover only", key([]byte{1}, nil), "***1 leftover bytes*** (01)"},
		{"encap leftover", key(attr(KeyAttrEncap, 1, 2, 3), nil), "encap(***3 leftover bytes*** (01 02 03))"},
		{"tunnel", key(attr(KeyAttrTunnel, attr(4, 1, 2)...), nil), "tunnel(key4(bad length 2, expected 1: 01 02),flags(0))"},
		{"geneve", key(attr(KeyAttrTunnel, attr(8, 0, 0, 1, 2)...), nil), "tunnel(key8(00 00 01 02),flags(0))"},
		{"erspan version", key(attr(KeyAttrTunnel, attr(15, make([]byte, 12)...)...), nil), "tunnel(key15(00 00 00 00 00 00 00 00 00 00 00 00),flags(0))"},
		{"nsh", key(attr(KeyAttrNSH, attr(1, 1)...), nil), "nsh(key1(bad length 1, expected 8: 01))"},
		{"tunnel attribute twice", key(attr(KeyAttrTunnel, append(attr(4, 1), attr(4, 2)...)...), nil), "tunnel(ttl=1,key4(02),flags(0))"},
		{"short output", actions(attr(ActionAttrOutput, 1)), "action1(bad length 1, expected 4: 01)"},
		{"pop_vlan with payload", actions(attr(ActionAttrPopVLAN, 1)), "action5(bad length 1, expected 0: 01)"},
		{"empty set", actions(attr(ActionAttrSet)), "action3(no attribute to set: )"},
		{"set two", actions(attr(ActionAttrSet, append(attr(KeyAttrCTMark, 1, 0, 0, 0), 1)...)), "action3(not one attribute to set: 08 00 18 00 01 00 00 00 01)"},
		{"masked set of odd length", actions(attr(ActionAttrSetMasked, attr(KeyAttrCTMark, 1)...)), "action11(not a value and a mask: 05 00 18 00 01 00 00 00)"},
		{"masked set of wrong length", actions(attr(ActionAttrSetMasked, attr(KeyAttrCTMark, 1, 1)...)), "set(key24(bad length 1, expected 4: 01))"},
		{"hash", actions(attr(ActionAttrHash, 9, 0, 0, 0, 1, 0, 0, 0)), "action8(09 00 00 00 01 00 00 00)"},
		{"nat range without start", actions(attr(ActionAttrCT, attr(6, append(attr(1), attr(4, 1, 2, 3, 4)...)...)...)), "ct(attr6(04 00 01 00 08 00 04 00 01 02 03 04))"},
		{"unterminated helper", actions(attr(ActionAttrCT, attr(5, 'f', 't', 'p')...)), "ct(attr5(66 74 70))"},
		{"sample", actions(attr(ActionAttrSample, attr(1, 1)...)), "sample(attr1(bad length 1, expected 4: 01))"},
		{"deep", actions(deep), strings.Repeat("clone(", 17) + "***nested too deeply***" + strings.Repeat(")", 17)},
		{"cookie of ovs-vswitchd", actions(attr(ActionAttrUserspace, attr(2, append([]byte{2, 0, 0, 0, 1, 0, 0, 0}, make([]byte, 40)...)...)...)),
			"userspace(userdata(0200000001000000" + hex.EncodeToString(make([]byte, 40)) + "))"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.got != tt.want {
				t.Errorf("got  %s\nwant %s", tt.got, tt.want)
			}
		})
	}
}
