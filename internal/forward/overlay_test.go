package forward

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// anyOf returns one of the choices.
func anyOf[T any](random *rand.Rand, choices ...T) T { return choices[random.IntN(len(choices))] }

// randomPayload returns the part of a key after the tags in ODP text, as the kernel writes it, with
// few different values.
func randomPayload(random *rand.Rand) string {
	l4 := func(proto int) string {
		switch proto {
		case 6:
			return fmt.Sprintf(",tcp(src=%d,dst=%d),tcp_flags(%s)", anyOf(random, 1, 2), anyOf(random, 80, 81),
				anyOf(random, "syn", "ack"))
		case 17:
			return fmt.Sprintf(",udp(src=%d,dst=%d)", anyOf(random, 1, 2), anyOf(random, 53, 80))
		case 1:
			return fmt.Sprintf(",icmp(type=%d,code=0)", anyOf(random, 0, 8))
		case 58:
			return ",icmpv6(type=135,code=0),nd(target=fe80::1,sll=02:00:00:00:00:01,tll=00:00:00:00:00:00)"
		}
		return ""
	}
	frag := anyOf(random, "no", "no", "first", "later")
	switch random.IntN(4) {
	case 0:
		proto := anyOf(random, 6, 17, 1, 99)
		s := fmt.Sprintf("eth_type(0x0800),ipv4(src=10.0.0.%d,dst=10.0.%d.1,proto=%d,tos=0,ttl=64,frag=%s)", random.IntN(3),
			random.IntN(3), proto, frag)
		if frag != "later" {
			s += l4(proto)
		}
		return s
	case 1:
		proto := anyOf(random, 6, 17, 58)
		s := fmt.Sprintf("eth_type(0x86dd),ipv6(src=fd00::%d,dst=fd00::%d,label=0,proto=%d,tclass=0,hlimit=9,frag=%s)",
			random.IntN(3), random.IntN(3), proto, frag)
		if frag != "later" {
			s += l4(proto)
		}
		return s
	case 2:
		return fmt.Sprintf("eth_type(0x0806),"+
			"arp(sip=10.0.0.%d,tip=10.0.0.%d,op=%d,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)",
			random.IntN(3), random.IntN(3), 1+random.IntN(2))
	default:
		return "eth_type(0x88b5)"
	}
}

// randomKey returns the key of a packet in ODP text.
func randomKey(random *rand.Rand) string {
	payload := randomPayload(random)
	for range anyOf(random, 0, 0, 1, 2) {
		payload = fmt.Sprintf("eth_type(0x%04x),vlan(vid=%d,pcp=%d),encap(%s)", anyOf(random, 0x8100, 0x88a8),
			anyOf(random, 0, 5, 6), anyOf(random, 0, 3), payload)
	}
	return fmt.Sprintf("recirc_id(0x%x),skb_mark(0x%x),in_port(%d),eth(src=02:00:00:00:00:0%d,dst=%s),%s",
		anyOf(random, 0, 0, 0, 1), anyOf(random, 0, 7), 1+random.IntN(3), random.IntN(3),
		anyOf(random, "02:00:00:00:00:00", "02:00:00:00:00:01", "ff:ff:ff:ff:ff:ff", "01:80:c2:00:00:00"), payload)
}

// parse parses a key in ODP text.
func parse(t testing.TB, text string) []byte {
	t.Helper()
	key, _, err := odp.Text{}.ParseKey(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return key
}

// staticLike returns the match of a static flow with some of the fields of a key, so that random
// packets match it.
func staticLike(random *rand.Rand, key string) string {
	fields := []string{"recirc_id", "skb_mark", "in_port", "tcp_flags", "tcp", "udp", "icmp"}
	for _, f := range fields {
		at := strings.Index(key, f+"(")
		if at < 0 || random.IntN(2) == 0 {
			continue
		}
		end := at + strings.Index(key[at:], ")") + 1
		key = strings.Replace(key[:at]+key[end:], ",,", ",", 1)
	}
	wild := func(field string) {
		if at := strings.Index(key, field+"="); at >= 0 && random.IntN(2) == 0 {
			end := at + strings.IndexAny(key[at:], ",)")
			key = key[:at] + strings.TrimPrefix(key[end:], ",")
		}
	}
	for _, f := range []string{"src", "dst", "tos", "ttl", "label", "tclass", "hlimit", "frag", "sip", "tip", "op", "sha",
		"tha", "pcp"} {
		wild(f)
	}
	key = strings.NewReplacer(",)", ")", "(,", "(", ",,", ",").Replace(key)
	return strings.Trim(key, ",")
}

// maskedKey is the key that the kernel dumps for the flow of a packet with key k.
func maskedKey(k, mask []byte) []byte {
	var e netlink.Encoder
	it := netlink.NewAttrs(k)
	for it.Next() {
		var m []byte
		found := false
		for mi := netlink.NewAttrs(mask); mi.Next(); {
			if mi.Type() == it.Type() {
				m, found = mi.Data(), true
			}
		}
		switch it.Type() {
		case odp.KeyAttrEncap:
			e.Attr(it.Type(), maskedKey(it.Data(), m))
		case odp.KeyAttrVLAN, odp.KeyAttrInPort:
			e.Attr(it.Type(), it.Data())
		default:
			data := bytes.Clone(it.Data())
			for i := range data {
				if !found {
					data[i] = 0
				} else {
					data[i] &= m[i]
				}
			}
			e.Attr(it.Type(), data)
		}
	}
	return e.Bytes()
}

// region is a flow in the form that the kernel keeps.
type region struct {
	key, mask odp.Packed
	text      string
}

// TestOverlayKeepsApart puts random static flows over policies and decides on random packets:
// packets of a static flow follow its actions; the flows of all others overlap neither static flows
// nor each other, and are re-decided alike.
func TestOverlayKeepsApart(t *testing.T) {
	hits, narrowed := 0, 0
	for seed := range uint64(60) {
		random := rand.New(rand.NewPCG(seed, 42))
		var flows []StaticFlow
		for range 200 {
			f := StaticFlow{Match: staticLike(random, randomKey(random)), Actions: anyOf(random, "drop", "1", "2,3")}
			if _, err := CheckStatic(append(flows, f)); err == nil {
				flows = append(flows, f)
			} else if s := (*StaticError)(nil); !errors.As(err, &s) || s.Earlier < 0 {
				t.Fatalf("%s: %v", f.Match, err)
			}
			if len(flows) == 6 {
				break
			}
		}
		var inner policy.Policy = newLearning(t, 100, 1, 2, 3)
		if seed%4 == 0 {
			inner = NewDrop()
		}
		o, err := NewOverlay(inner, flows)
		if err != nil {
			t.Fatal(err)
		}
		o.SetPorts(portList(1, 2, 3))
		var statics, learned []region
		compared := map[[2]odp.Packed]bool{}
		for _, f := range o.StaticFlows() {
			r := region{text: f.Match}
			if err := r.key.Pack(f.Key); err != nil {
				t.Fatal(err)
			}
			if other, err := r.mask.PackMask(f.Mask); err != nil || other != 0 {
				t.Fatal(other, err)
			}
			statics = append(statics, r)
		}
		for _, src := range []string{"0", "1", "2"} { // learn everything first
			decide(inner, parse(t, "in_port(1),eth(src=02:00:00:00:00:0"+src+",dst=ff:ff:ff:ff:ff:ff),eth_type(0x88b5)"), 1)
		}
		for range 400 {
			text := randomKey(random)
			k := parse(t, text)
			var packed odp.Packed
			if err := packed.Pack(k); err != nil {
				t.Fatal(err)
			}
			plain := decide(inner, k, 2)
			v := decide(o, k, 2)
			var hit *region
			for i := range statics {
				if packed.Matches(&statics[i].key, &statics[i].mask) {
					hit = &statics[i]
				}
			}
			if hit != nil {
				hits++
				if v.Install || v.Reason != reasonStatic {
					t.Fatalf("%s belongs to %s: %+v", text, hit.text, v)
				}
				continue
			}
			if !v.Install || !bytes.Equal(v.Actions.Bytes(), plain.Actions.Bytes()) {
				t.Fatalf("%s: %s, without static flows %s", text, v.Reason, plain.Reason)
			}
			if !bytes.Equal(v.Mask.Bytes(), plain.Mask.Bytes()) {
				narrowed++
			}
			r := region{key: packed, text: text}
			if other, err := r.mask.PackMask(v.Mask.Bytes()); err != nil || other != 0 {
				t.Fatal(other, err)
			}
			for i := range statics {
				if s := &statics[i]; odp.Overlap(&r.key, &r.mask, &s.key, &s.mask) && !ofLaterFragments(r) {
					t.Fatalf("the flow for %s with mask %s overlaps %s", text, odp.Text{}.AppendKey(nil, k, v.Mask.Bytes()), s.text)
				}
			}
			for i := range r.key {
				r.key[i] &= r.mask[i]
			}
			if id := [2]odp.Packed{r.key, r.mask}; !compared[id] {
				compared[id] = true
				for _, q := range learned {
					if odp.Overlap(&r.key, &r.mask, &q.key, &q.mask) {
						t.Fatalf("the flows for %s and %s overlap", r.text, q.text)
					}
				}
				learned = append(learned, r)
			}
			dumped := maskedKey(k, v.Mask.Bytes())
			again, ok := redecide(o, dumped)
			if !ok || !bytes.Equal(again.Mask.Bytes(), v.Mask.Bytes()) ||
				!bytes.Equal(again.Actions.Bytes(), v.Actions.Bytes()) {
				t.Fatalf("%s: re-decided %v (%s), mask %s, was %s", text, ok, again.Reason,
					odp.Text{}.AppendKey(nil, dumped, again.Mask.Bytes()), odp.Text{}.AppendKey(nil, k, v.Mask.Bytes()))
			}
		}
	}
	if hits < 200 || narrowed < 2000 {
		t.Errorf("%d packets of static flows, %d narrowed masks", hits, narrowed)
	}
}

// ofLaterFragments reports whether the flow is for later fragments, which have zeros instead of
// ports, also in the kernel's key.
func ofLaterFragments(r region) bool {
	const ipv4Frag, ipv6Frag, later = 79, 119, 2
	return r.mask[ipv4Frag] == 0xff && r.key[ipv4Frag] == later || r.mask[ipv6Frag] == 0xff && r.key[ipv6Frag] == later
}

func TestOverlayPorts(t *testing.T) {
	flows := []StaticFlow{
		{"in_port(p1),eth()", "p2"},
		{"in_port(p2),eth()", "p9"},
		{"in_port(p9),eth()", "p1"},
		{"in_port(p1),eth(dst=02:00:00:00:00:01)", "p2"}, // a subset of the first
	}
	o, err := NewOverlay(NewDrop(), flows)
	if err != nil {
		t.Fatal(err)
	}
	if len(o.StaticFlows()) != 0 {
		t.Error("static flows without ports")
	}
	o.SetPorts(portList(1, 2))
	g := o.Generation()
	list := o.StaticFlows()
	if len(list) != 3 || list[0].Missing != "" || list[1].Missing != "p9" || list[2].Missing != "p9" ||
		list[1].UFID == list[2].UFID {
		t.Fatalf("%+v", list)
	}
	if v := decide(o, key(2, host(1), host(2)), 1); v.Reason != "drop" || !v.Install {
		t.Errorf("a waiting flow was used: %+v", v)
	}
	wantOutputs(t, decide(o, key(1, host(1), host(2)), 1), 2)
	o.SetPorts(portList(1, 2))
	if o.Generation() != g {
		t.Error("the same ports increase the generation")
	}
	o.SetPorts(portList(1, 2, 9))
	if o.Generation() == g {
		t.Error("a port came, and the generation did not grow")
	}
	v := decide(o, key(2, host(1), host(2)), 1)
	wantOutputs(t, v, 9)
	first := o.StaticFlows()
	if first[0].UFID != list[0].UFID || first[1].UFID == list[1].UFID || first[1].Missing != "" {
		t.Errorf("%+v", first)
	}
	if _, ok := redecide(o, key(2, host(1), host(2))); ok {
		t.Error("a flow of the policy that a static one covers is kept")
	}
	if n := testing.AllocsPerRun(100, func() {
		v.Clear()
		o.Decide(&dpif.Upcall{InPort: 3, Key: first[0].Key}, 1, v)
	}); n > 1 { // the Upcall
		t.Errorf("%v allocations", n)
	}
}

func TestOverlayAllocs(t *testing.T) {
	o, err := NewOverlay(newLearning(t, 100, 1, 2, 3), []StaticFlow{
		{"in_port(p1),eth(),eth_type(0x0800),ipv4(dst=10.9.0.0/255.255.0.0,proto=6),tcp(dst=80)", "p2"},
		{"eth(),eth_type(0x0806),arp()", "drop"},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.SetPorts(portList(1, 2, 3))
	for _, text := range []string{
		"in_port(1),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0800),ipv4(src=1.2.3.4,dst=10.9.0.1,proto=6,tos=0,ttl=1,frag=no),tcp(src=1,dst=81)",
		"in_port(1),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),arp(sip=1.2.3.4,tip=1.2.3.4,op=1,sha=02:00:00:00:00:01,tha=00:00:00:00:00:00)",
		"in_port(2),eth(src=02:00:00:00:00:02,dst=02:00:00:00:00:01),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x86dd))",
	} {
		k := parse(t, text)
		in, _ := odp.InPort(k)
		u := dpif.Upcall{InPort: in, Key: k}
		var v policy.Verdict
		if n := testing.AllocsPerRun(100, func() {
			v.Clear()
			o.Decide(&u, 5, &v)
			v.Clear()
			o.Redecide(k, &v)
			o.Observe(k, 5)
		}); n != 0 {
			t.Errorf("%s: %v allocations", text, n)
		}
	}
}

// TestOverlayPerPort: a static flow without in-port is installed once for each port, so that the
// kernel has none for a vport unknown to the policy.
func TestOverlayPerPort(t *testing.T) {
	o, err := NewOverlay(NewDrop(), []StaticFlow{
		{"eth_type(0x0806)", "p1,p2"}, {"in_port(p2),eth_type(0x88b5)", "p1"}, {"in_port(p1),eth_type(0x0806),arp(op=1)", "p1,p2"}, {"in_port(p1),skb_mark(7)", "p1,p2"},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.PerPort()
	for _, ports := range [][]odp.PortNo{{1, 2, 3}, {1, 2, 3, 4}, {1, 2}} {
		o.SetPorts(portList(ports...))
		matches, ids := map[string]int{}, map[dpif.UFID]bool{}
		for _, f := range o.StaticFlows() {
			in, err := odp.InPort(f.Key)
			var mask odp.Packed
			if _, err := mask.PackMask(f.Mask); err != nil || binary.NativeEndian.Uint32(mask[:4]) != ^uint32(0) {
				t.Errorf("%s: mask %x, %v", f.Match, f.Mask, err)
			}
			if err != nil || !slices.Contains(ports, in) {
				t.Errorf("%s: in-port %d, %v", f.Match, in, err)
			}
			matches[f.Match]++
			ids[f.UFID] = true
		}
		want := map[string]int{"eth_type(0x0806)": len(ports), "in_port(p2),eth_type(0x88b5)": 1,
			"in_port(p1),skb_mark(7)": 1}
		if !maps.Equal(matches, want) || len(ids) != len(ports)+2 {
			t.Errorf("%d ports: flows by match %v, %d identifiers", len(ports), matches, len(ids))
		}
	}
	if v := decide(o, parse(t, "in_port(2),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),"+
		"arp(op=1)"), 1); v.Reason != reasonStatic {
		t.Errorf("decided as %s", v.Reason)
	}
}

func TestCheckStatic(t *testing.T) {
	for _, tt := range []struct {
		flows   []StaticFlow
		covered int
		want    string // text of the error
	}{
		{nil, 0, ""},
		{[]StaticFlow{{"in_port(a),eth()", "b"}, {"in_port(b),eth()", "a"}}, 0, ""},
		{[]StaticFlow{{"in_port(a),eth()", "b"}, {"in_port(a)", "b"}}, 1, ""},
		{[]StaticFlow{{"in_port(a),eth(src=02:00:00:00:00:01)", "b"}, {"in_port(a),eth(dst=02:00:00:00:00:01)", "b"}}, 0, ""},
		{[]StaticFlow{{"in_port(a),eth(src=02:00:00:00:00:01)", "b"}, {"in_port(a),eth(dst=02:00:00:00:00:01)", "c"}}, 0,
			"static flow 1: match: overlaps an earlier flow with other actions; flows in the kernel have no priorities"},
		{[]StaticFlow{{"in_port(a),eth(src=02:00:00:00:00:01)", "b"}, {"in_port(a),eth()", "b"}}, 1, ""},
		{[]StaticFlow{{"in_port(a),skb_mark(7)", "b"}, {"in_port(a),eth_type(0x0806)", "b"}}, 0, ""},
		{[]StaticFlow{{"in_port(a),skb_mark(0)", "b"}, {"in_port(a),eth_type(0x0806)", "b"}}, 0,
			"static flow 1: match: overlaps an earlier flow in part, where fields that one of them matches are zero; the kernel treats the two as one"},
		{[]StaticFlow{{"in_port(a)", "b"}, {"skb_mark(0)", "b"}}, 0,
			"static flow 1: match: overlaps an earlier flow in part, where fields that one of them matches are zero; the kernel treats the two as one"},
		{[]StaticFlow{{"in_port(0)", "b"}, {"skb_mark(7)", "b"}}, 0,
			"static flow 1: match: overlaps an earlier flow in part, where fields that one of them matches are zero; the kernel treats the two as one"},
		{[]StaticFlow{{"in_port(0),skb_mark(7)", "b"}, {"eth_type(0x0806)", "b"}}, 0, ""},
		{[]StaticFlow{{"in_port(1),eth()", "2"}, {"in_port(2),eth()", "1"}, {"in_port(b),eth()", "1"}}, 0,
			"static flow 2: match: overlaps an earlier flow with other actions; flows in the kernel have no priorities"},
		{[]StaticFlow{{"in_port(1),eth()", "2"}, {"in_port(1),eth(),eth_type(0x8100),vlan(vid=5),encap()", "1"}}, 0, ""},
		{[]StaticFlow{{"in_port(1),eth(),eth_type(0x0800),ipv4()", "2"}, {"in_port(1),eth(),eth_type(0x8100),vlan(vid=5),encap()", "1"}, {"in_port(1)", "3"}}, 0,
			"static flow 2: match: overlaps an earlier flow with other actions; flows in the kernel have no priorities"},
		{[]StaticFlow{{"in_port(1),ipv4(proto=6)", "2"}, {"in_port(1),eth_type(0x0800),tcp(dst=22)", "2"}, {"in_port(1),ipv6(),udp(dst=22)", "2"}, {"in_port(1),arp()", "2"}}, 1, ""},
		{[]StaticFlow{{"in_port(1),eth_type(0x86dd),ipv4(proto=6)", "2"}}, 0, "static flow 0: match: ipv4(...) needs eth_type(0x0800)"},
		{[]StaticFlow{{"in_port(1),tcp(dst=1)", "2"}}, 0, "static flow 0: match: tcp(...) needs eth_type(0x0800) or eth_type(0x86dd), and proto=6"},
		{[]StaticFlow{{"eth_type(0x86dd),ipv6(proto=17),tcp(dst=1)", "2"}}, 0, "static flow 0: match: tcp(...) needs eth_type(0x0800) or eth_type(0x86dd), and proto=6"},
		{[]StaticFlow{{"in_port(1),eth_type(0x0800),ipv4(frag=later),udp(dst=53)", "2"}}, 0, "static flow 0: match: udp(...) cannot be combined with frag=later: later fragments have no such header"},
		{[]StaticFlow{{"in_port(1),eth_type(0x8100)", "2"}}, 0, "static flow 0: match: eth_type(0x8100) needs vlan(...) behind it"},
		{[]StaticFlow{{"in_port(1),eth_type(0x894f)", "2"}}, 0, "static flow 0: match: eth_type(0x894f) needs nsh(...), which static flows cannot match"},
		{[]StaticFlow{{"in_port(1),eth_type(0x0005)", "2"}}, 0, "static flow 0: match: eth_type(0x0005): the lowest EtherType is 0x0600; eth_type(0/0xffff) matches 802.2 frames"},
		{[]StaticFlow{{"in_port(1),eth_type(0x0806),arp(op=256)", "2"}}, 0, "static flow 0: match: arp(...): the kernel knows operations up to 255"},
		{[]StaticFlow{{"vlan(vid=5)", "2"}}, 0, "static flow 0: match: vlan(...) alone: the kernel needs another field, such as in_port(...) or eth_type(...) inside encap(...)"},
		{[]StaticFlow{{"eth_type(0x86dd),ipv6(proto=58),icmpv6(type=1),nd(target=fe80::1)", "2"}}, 0, "static flow 0: match: nd(...) needs icmpv6(...) with type=135 or type=136"},
		{[]StaticFlow{{"in_port(1),vlan(vid=5)", "2"}}, 0, ""},
		{[]StaticFlow{{"in_port(1),eth_type(0x0800),vlan(vid=5),ipv4()", "2"}}, 0, "static flow 0: match: vlan(...) needs eth_type(0x8100) or eth_type(0x88a8) before it, and encap(...) after it"},
		{[]StaticFlow{{"eth_type(0x8847),mpls(label=5)", "2"}}, 0, "static flow 0: match: static flows do not match on attribute mpls(...)"},
		{[]StaticFlow{{"in_port(1)", "2,nothing("}}, 0, `static flow 0: actions: "nothing" is not an action`},
	} {
		covered, err := CheckStatic(tt.flows)
		got := ""
		if err != nil {
			got = err.Error()
		}
		if got != tt.want || covered != tt.covered {
			t.Errorf("%v: covered %d, %s", tt.flows, covered, got)
		}
	}
}

// TestExplainAbsent: a trace mentions a static flow that would match but waits for a port.
func TestExplainAbsent(t *testing.T) {
	o, err := NewOverlay(NewDrop(), []StaticFlow{
		{Match: "in_port(p1),eth_type(0x0806)", Actions: "p9"},
		{Match: "in_port(p1),eth_type(0x0800)", Actions: "p8"},
		{Match: "in_port(p9),eth_type(0x0806)", Actions: "p1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	o.SetPorts(portList(1, 2))
	explained := func(in int, ethertype uint16) (list []string) {
		var e netlink.Encoder
		odp.AppendInPort(&e, odp.PortNo(in))
		odp.AppendEthernet(&e, host(1), host(2))
		odp.AppendEthertype(&e, ethertype)
		var v policy.Verdict
		v.Explain = func(step, found string) {
			if step == reasonStatic {
				list = append(list, found)
			}
		}
		o.Decide(&dpif.Upcall{InPort: odp.PortNo(in), Key: e.Bytes()}, 1, &v)
		return list
	}
	want := "the static flow in_port(p1),eth_type(0x0806) would match, but is not installed: there is no port p9"
	if got := explained(1, 0x0806); len(got) != 1 || got[0] != want {
		t.Errorf("explained %q", got)
	}
	if got := explained(2, 0x0806); len(got) != 0 {
		t.Errorf("for another port: explained %q", got)
	}
}
