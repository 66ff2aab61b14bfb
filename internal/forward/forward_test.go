package forward

import (
	"encoding/binary"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// key returns a flow key as the kernel writes it for an IPv4 packet.
func key(in odp.PortNo, src, dst odp.MAC) []byte { return taggedKey(in, src, dst, 0) }

// taggedKey is key with a VLAN tag, unless tci is 0.
func taggedKey(in odp.PortNo, src, dst odp.MAC, tci uint16) []byte {
	var e netlink.Encoder
	rest := func(e *netlink.Encoder) {
		odp.AppendEthertype(e, 0x0800)
		e.Attr(odp.KeyAttrIPv4, []byte{10, 0, 0, 1, 10, 0, 0, 2, 17, 0, 64, 0})
		e.Attr(odp.KeyAttrUDP, []byte{0x30, 0x39, 0, 53})
	}
	e.Uint32(odp.KeyAttrRecircID, 0)
	e.Uint32(odp.KeyAttrPriority, 0)
	odp.AppendInPort(&e, in)
	e.Uint32(odp.KeyAttrSkbMark, 0)
	odp.AppendEthernet(&e, src, dst)
	if tci == 0 {
		rest(&e)
	} else {
		odp.AppendEthertype(&e, 0x8100)
		odp.AppendVLAN(&e, tci)
		e.Nested(odp.KeyAttrEncap, rest)
	}
	return e.Bytes()
}

// host returns a unicast MAC that depends on n.
func host(n int) odp.MAC { return odp.MACFromUint64(0x02_00_5e_00_00_00 + uint64(n)*0x10001) }

var broadcast = odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}

func portList(nos ...odp.PortNo) []policy.Port {
	var l []policy.Port
	for _, no := range nos {
		l = append(l, policy.Port{No: no, Name: "p" + no.String()})
	}
	return l
}

// outputs decodes actions, which must all be outputs.
func outputs(t testing.TB, v *policy.Verdict) []odp.PortNo {
	t.Helper()
	if err := v.Actions.Err(); err != nil {
		t.Fatal(err)
	}
	var out []odp.PortNo
	it := netlink.NewAttrs(v.Actions.Bytes())
	for it.Next() {
		if it.Type() != odp.ActionAttrOutput {
			t.Fatalf("action %d is not an output", it.Type())
		}
		out = append(out, odp.PortNo(it.Uint32()))
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// maskOf decodes a mask, which must have an exact in-port and may have Ethernet addresses.
func maskOf(t testing.TB, v *policy.Verdict) (src, dst odp.MAC) {
	t.Helper()
	if err := v.Mask.Err(); err != nil {
		t.Fatal(err)
	}
	it := netlink.NewAttrs(v.Mask.Bytes())
	hasPort := false
	for it.Next() {
		switch it.Type() {
		case odp.KeyAttrInPort:
			hasPort = it.Uint32() == ^uint32(0)
		case odp.KeyAttrEthernet:
			src, dst = odp.MAC(it.Data()[:6]), odp.MAC(it.Data()[6:])
		default:
			t.Fatalf("attribute %d in the mask", it.Type())
		}
	}
	if err := it.Err(); err != nil || !hasPort {
		t.Fatalf("mask %x: in-port %v, error %v", v.Mask.Bytes(), hasPort, err)
	}
	return src, dst
}

// decide returns p's verdict on a packet.
func decide(p policy.Policy, key []byte, nowMS int64) *policy.Verdict {
	in, _ := odp.InPort(key)
	v := &policy.Verdict{}
	p.Decide(&dpif.Upcall{Kind: dpif.Miss, InPort: in, Key: key}, nowMS, v)
	return v
}

func redecide(p policy.Policy, key []byte) (*policy.Verdict, bool) {
	v := &policy.Verdict{}
	ok := p.Redecide(key, v)
	return v, ok
}

func wantOutputs(t testing.TB, v *policy.Verdict, want ...odp.PortNo) {
	t.Helper()
	if got := outputs(t, v); !slices.Equal(got, want) {
		t.Errorf("%s: outputs %v, want %v", v.Reason, got, want)
	}
}

func TestFloodAndDrop(t *testing.T) {
	for _, tt := range []struct {
		name   string
		policy policy.Policy
		want   []odp.PortNo
	}{
		{"flood", newFlood(nil), []odp.PortNo{0, 9, 300}},
		{"drop", NewDrop(), nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := tt.policy
			k := key(4, host(1), broadcast)
			if v := decide(p, k, 1); v.Install || len(outputs(t, v)) != 0 {
				t.Errorf("without ports: %+v", v)
			}
			p.SetPorts(portList(300, 4, 0, 9, 4))
			g := p.Generation()
			p.SetPorts(portList(0, 4, 9, 300))
			if p.Generation() != g {
				t.Error("the same ports increase the generation")
			}
			v := decide(p, k, 1)
			wantOutputs(t, v, tt.want...)
			if src, dst := maskOf(t, v); !v.Install || v.Reason != tt.name || !src.IsZero() || !dst.IsZero() {
				t.Errorf("verdict %+v", v)
			}
			again, ok := redecide(p, k)
			wantOutputs(t, again, tt.want...)
			if src, dst := maskOf(t, again); !ok || !again.Install || again.Reason != tt.name || !src.IsZero() || !dst.IsZero() {
				t.Errorf("re-decided: %v, %+v", ok, again)
			}
			p.Observe(k, 5)
			if p.Expiring(1 << 60) {
				t.Error("reports something to expire")
			}
			p.Expire(1 << 60)
			if p.Generation() != g {
				t.Error("the generation grew without a change")
			}

			p.SetPorts(portList(0, 9))
			if p.Generation() <= g {
				t.Error("a port was removed, and the generation did not grow")
			}
			if v, ok := redecide(p, k); ok || v.Install || v.Reason != reasonInPortGone {
				t.Errorf("the in-port was removed: %v, %+v", ok, v)
			}
			if v := decide(p, k, 2); v.Install {
				t.Error("a flow from a removed port")
			}
			if v, ok := redecide(p, k[:7]); ok || v.Reason != reasonMalformedKey {
				t.Errorf("malformed key: %v, %+v", ok, v)
			}
		})
	}
}

// TestFloodWide floods to so many ports that errors in the order of the copied actions show.
func TestFloodWide(t *testing.T) {
	var all []policy.Port
	for no := odp.PortNo(1); no < 1000; no += 7 {
		all = append(all, policy.Port{No: no})
	}
	p := newFlood(nil)
	p.SetPorts(all)
	for _, in := range all {
		var want []odp.PortNo
		for _, out := range all {
			if out != in {
				want = append(want, out.No)
			}
		}
		wantOutputs(t, decide(p, key(in.No, host(1), host(2)), 0), want...)
	}
}

func FuzzPolicies(f *testing.F) {
	f.Add(key(1, host(1), host(2)))
	f.Add(taggedKey(2, host(1), broadcast, 0x1005))
	f.Add(key(9, broadcast, reserved[0].addr))
	f.Add(append(key(2, host(1), broadcast), key(3, host(1), broadcast)...))
	f.Fuzz(func(t *testing.T, k []byte) {
		l, err := NewLearning(Config{MACLimit: 2})
		if err != nil {
			t.Fatal(err)
		}
		o, err := NewOverlay(newFlood(nil), []StaticFlow{
			{"in_port(p1),eth(),eth_type(0x0800),ipv4(proto=17),udp(dst=53)", "p2"},
			{"eth(),eth_type(0x8100),vlan(vid=5),encap(eth_type(0x0800),ipv4(proto=6,frag=no))", "drop"},
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range []policy.Policy{l, newFlood(nil), NewDrop(), o} {
			p.SetPorts(portList(1, 2, 3))
			p.Observe(k, 4)
			v := decide(p, k, 5)
			if v.Reason == "" {
				t.Error("a decision without a name")
			}
			in, _ := odp.InPort(k)
			for it := netlink.NewAttrs(v.Actions.Bytes()); it.Next(); {
				if it.Type() == odp.ActionAttrOutput && odp.PortNo(it.Uint32()) == in {
					t.Errorf("%s: out of the in-port", v.Reason)
				}
			}
			again, ok := redecide(p, k)
			// Flood and Drop accept packets that Learning cannot parse.
			if ok != v.Install {
				t.Errorf("%s installs %v; re-decided %v as %s", v.Reason, v.Install, ok, again.Reason)
			}
			if ok && string(again.Actions.Bytes()) != string(v.Actions.Bytes()) {
				t.Errorf("%s: re-decided otherwise as %s", v.Reason, again.Reason)
			}
		}
	})
}

// masked returns the key of the kernel's flow for a packet with this key under v's mask.
func masked(t testing.TB, k []byte, v *policy.Verdict) []byte {
	t.Helper()
	src, dst := maskOf(t, v)
	k = slices.Clone(k)
	it := netlink.NewAttrs(k)
	for it.Next() {
		data := it.Data()
		switch it.Type() {
		case odp.KeyAttrInPort, odp.KeyAttrVLAN, odp.KeyAttrEncap:
		case odp.KeyAttrEthernet:
			m := binary.BigEndian.AppendUint64(nil, src.Uint64()<<16)[:6]
			m = append(m, dst[:]...)
			for i := range data {
				data[i] &= m[i]
			}
		default:
			clear(data)
		}
	}
	return k
}
