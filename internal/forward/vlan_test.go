package forward

import (
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// newFlood returns a Flood with valid settings.
func newFlood(cfg PortConfigs) *Flood {
	f, err := NewFlood(cfg)
	if err != nil {
		panic(err)
	}
	return f
}

// tag is a VLAN tag of a frame; lists begin with the outermost.
type tag struct{ tpid, tci uint16 }

// sent applies actions to a frame with these tags, as the kernel does, and returns the frame's tags
// by out-port. It fails if a port gets the frame twice.
func sent(t testing.TB, v *policy.Verdict, tags []tag) map[odp.PortNo]string {
	t.Helper()
	if err := v.Actions.Err(); err != nil {
		t.Fatal(err)
	}
	tags = slices.Clone(tags)
	out := map[odp.PortNo]string{}
	it := netlink.NewAttrs(v.Actions.Bytes())
	for it.Next() {
		switch it.Type() {
		case odp.ActionAttrOutput:
			no := odp.PortNo(it.Uint32())
			if _, twice := out[no]; twice {
				t.Fatalf("%s: port %v twice in %x", v.Reason, no, v.Actions.Bytes())
			}
			out[no] = fmt.Sprintf("%x", tags)
		case odp.ActionAttrPopVLAN:
			if len(tags) == 0 || len(it.Data()) != 0 {
				t.Fatalf("%s: pop_vlan of nothing, or with %d bytes", v.Reason, len(it.Data()))
			}
			tags = tags[1:]
		case odp.ActionAttrPushVLAN:
			b := it.Data()
			tags = append([]tag{{binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])}}, tags...)
		default:
			t.Fatalf("action %d", it.Type())
		}
	}
	if err := it.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// stackedKey is a key with any number of tags.
func stackedKey(in odp.PortNo, src, dst odp.MAC, tags ...tag) []byte {
	var e netlink.Encoder
	odp.AppendInPort(&e, in)
	odp.AppendEthernet(&e, src, dst)
	appendTags(&e, tags)
	return e.Bytes()
}

func appendTags(e *netlink.Encoder, tags []tag) {
	if len(tags) == 0 {
		odp.AppendEthertype(e, 0x86dd)
		return
	}
	odp.AppendEthertype(e, tags[0].tpid)
	odp.AppendVLAN(e, tags[0].tci)
	e.Nested(odp.KeyAttrEncap, func(e *netlink.Encoder) { appendTags(e, tags[1:]) })
}

// vlanModel is a simple model of the VLAN rules of Open vSwitch's NORMAL action.
type vlanModel struct {
	cfg    map[odp.PortNo]PortConfig
	shared bool
	macs   map[string]odp.PortNo
}

func (c VLANConfig) model(vid int) (vlan int, ok bool) {
	trunks := func(vlan int) bool {
		if c.Trunk == nil || vlan != 0 && vlan == int(c.Native) {
			return true
		}
		return slices.ContainsFunc(c.Trunk, func(r VLANRange) bool { return int(r.First) <= vlan && vlan <= int(r.Last) })
	}
	switch {
	case c.Access != 0:
		return int(c.Access), vid == 0
	case c.Native != 0 && vid == 0:
		return int(c.Native), true
	}
	return vid, trunks(vid)
}

// leaves returns the tags of a frame that leaves by a port, and whether the port is a member of the
// VLAN.
func (c VLANConfig) leaves(vlan int, tags []tag) (string, bool) {
	inner, pcp := tags, uint16(0)
	if len(tags) > 0 {
		inner, pcp = tags[1:], tags[0].tci&0xe000
	}
	if c.Access != 0 {
		return fmt.Sprintf("%x", inner), vlan == int(c.Access)
	}
	_, member := VLANConfig{Trunk: c.Trunk, Native: c.Native}.model(vlan)
	if vlan == 0 {
		member = c.Trunk == nil
		if pcp == 0 {
			return fmt.Sprintf("%x", inner), member
		}
		return fmt.Sprintf("%x", tags), member
	}
	if vlan == int(c.Native) {
		return fmt.Sprintf("%x", inner), true
	}
	if len(tags) > 0 && int(tags[0].tci&0xfff) == vlan {
		return fmt.Sprintf("%x", tags), member
	}
	return fmt.Sprintf("%x", append([]tag{{0x8100, 0x1000 | pcp | uint16(vlan)}}, inner...)), member
}

func (m *vlanModel) key(vlan int, mac odp.MAC) string {
	if m.shared {
		vlan = 0
	}
	return fmt.Sprint(vlan, mac)
}

func (m *vlanModel) decide(in odp.PortNo, src, dst odp.MAC, tags []tag) map[odp.PortNo]string {
	vid := 0
	if len(tags) > 0 {
		vid = int(tags[0].tci & 0xfff)
	}
	out := map[odp.PortNo]string{}
	vlan, ok := m.cfg[in].VLAN.model(vid)
	if !ok {
		return out
	}
	m.macs[m.key(vlan, src)] = in
	send := func(to odp.PortNo) bool {
		a, b := m.cfg[in], m.cfg[to]
		leaves, member := b.VLAN.leaves(vlan, tags)
		if !member {
			return false
		}
		if to == in && a.Hairpin || to != in && !(a.Isolated && b.Isolated && a.Group == b.Group) {
			out[to] = leaves
		}
		return true
	}
	if to, known := m.macs[m.key(vlan, dst)]; known && !dst.IsMulticast() && send(to) {
		return out
	}
	for to := range m.cfg {
		send(to)
	}
	return out
}

// randomPort returns random settings with few different VLANs, so that ports share them.
func randomPort(random *rand.Rand) PortConfig {
	vlans := []uint16{1, 2, 3, 100, 4094}
	vlan := func() uint16 { return vlans[random.IntN(len(vlans))] }
	var c PortConfig
	switch random.IntN(5) {
	case 0:
		c.VLAN.Access = vlan()
	case 1:
		c.VLAN.Native = vlan()
	case 2:
		c.VLAN.Native = vlan()
		fallthrough
	case 3:
		for range 1 + random.IntN(2) {
			a, b := vlan(), vlan()
			c.VLAN.Trunk = append(c.VLAN.Trunk, VLANRange{min(a, b), max(a, b)})
		}
	}
	if random.IntN(4) == 0 {
		c.Isolated, c.Group = true, []string{"", "g"}[random.IntN(2)]
	}
	c.Hairpin = random.IntN(6) == 0
	return c
}

// TestVLANModel feeds random frames with up to two tags to policies with random settings and to the
// model.
func TestVLANModel(t *testing.T) {
	reasons := map[string]int{}
	for seed := range uint64(120) {
		random := rand.New(rand.NewPCG(seed, 0x8100))
		m := &vlanModel{cfg: map[odp.PortNo]PortConfig{}, macs: map[string]odp.PortNo{}, shared: seed%3 == 0}
		cfg := PortConfigs{}
		var list []policy.Port
		for no := odp.PortNo(1); no <= 5; no++ {
			c := randomPort(random)
			if seed == 0 {
				c = PortConfig{}
			} else if random.IntN(6) != 0 {
				cfg["p"+no.String()] = c
			} else {
				c = PortConfig{}
			}
			m.cfg[no] = c
			list = append(list, policy.Port{No: no, Name: "p" + no.String()})
		}
		l, err := NewLearning(Config{MACLimit: 1000, SharedLearning: m.shared, Ports: cfg})
		if err != nil {
			t.Fatal(err)
		}
		l.SetPorts(list)
		f := newFlood(cfg)
		f.SetPorts(list)
		for range 300 {
			var tags []tag
			for range []int{0, 1, 1, 1, 2}[random.IntN(5)] {
				vid := []uint16{0, 0, 1, 2, 3, 50, 100, 4094, 4095}[random.IntN(9)]
				pcp := []uint16{0, 0xa000}[random.IntN(2)]
				tags = append(tags, tag{[]uint16{0x8100, 0x88a8}[random.IntN(2)], 0x1000 | pcp | vid})
			}
			in, src, dst := odp.PortNo(1+random.IntN(5)), host(random.IntN(6)), host(random.IntN(6))
			if random.IntN(4) == 0 {
				dst = broadcast
			}
			k := stackedKey(in, src, dst, tags...)
			v := decide(l, k, 10)
			reasons[v.Reason]++
			what := fmt.Sprintf("seed %d: %x from %v to %v on %v (%s), settings %+v", seed, tags, src, dst, in, v.Reason, cfg)
			if got, want := sent(t, v, tags), m.decide(in, src, dst, tags); !maps.Equal(got, want) || !v.Install {
				t.Fatalf("%s: sent %v, the model %v", what, got, want)
			}
			again, ok := redecide(l, masked(t, k, v))
			if !ok || string(again.Actions.Bytes()) != string(v.Actions.Bytes()) ||
				string(again.Mask.Bytes()) != string(v.Mask.Bytes()) {
				t.Fatalf("%s: re-decided %v as %s", what, ok, again.Reason)
			}
			flooded := decide(f, k, 10)
			nowhere := (&vlanModel{cfg: m.cfg, macs: map[string]odp.PortNo{}}).decide(in, src, broadcast, tags)
			if got := sent(t, flooded, tags); !maps.Equal(got, nowhere) {
				t.Fatalf("%s: flood sent %v, the model %v", what, got, nowhere)
			}
		}
	}
	for _, reason := range []string{"vlan_not_carried", "isolated", "same_port", "learned_unicast", "unknown_unicast",
		"multicast"} {
		if reasons[reason] < 100 {
			t.Errorf("only %d frames %s", reasons[reason], reason)
		}
	}
}

// TestPartialTag: a frame with a truncated tag is forwarded like an untagged frame, since the
// kernel's flows for those match it; no flow can have its own key.
func TestPartialTag(t *testing.T) {
	for name, p := range map[string]policy.Policy{"learning": newLearning(t, 10, 1, 2), "flood": newFlood(nil)} {
		p.SetPorts(portList(1, 2))
		k := stackedKey(1, host(1), broadcast, tag{0x8100, 0x0007})
		v, plain := decide(p, k, 1), decide(p, key(1, host(1), broadcast), 1)
		if v.Install || string(v.Actions.Bytes()) != string(plain.Actions.Bytes()) || v.Reason != plain.Reason {
			t.Errorf("%s: %+v, without tag %+v", name, v, plain)
		}
		if _, ok := redecide(p, k); ok {
			t.Errorf("%s: re-decided to keep", name)
		}
	}
}

func TestPortConfigs(t *testing.T) {
	for _, tt := range []struct {
		cfg PortConfig
		ok  bool
	}{
		{PortConfig{}, true},
		{PortConfig{VLAN: VLANConfig{Access: 4094}}, true},
		{PortConfig{VLAN: VLANConfig{Access: 4095}}, false},
		{PortConfig{VLAN: VLANConfig{Native: 4095}}, false},
		{PortConfig{VLAN: VLANConfig{Access: 1, Native: 1}}, false},
		{PortConfig{VLAN: VLANConfig{Access: 1, Trunk: []VLANRange{{2, 2}}}}, false},
		{PortConfig{VLAN: VLANConfig{Trunk: []VLANRange{{1, 4094}}, Native: 7}}, true},
		{PortConfig{VLAN: VLANConfig{Trunk: []VLANRange{{0, 5}}}}, false},
		{PortConfig{VLAN: VLANConfig{Trunk: []VLANRange{{5, 4}}}}, false},
		{PortConfig{VLAN: VLANConfig{Trunk: []VLANRange{{5, 4095}}}}, false},
		{PortConfig{Group: "a"}, false},
		{PortConfig{Group: "a", Isolated: true}, true},
	} {
		cfg := PortConfigs{"p1": tt.cfg}
		_, err := NewLearning(Config{Ports: cfg})
		_, floodErr := NewFlood(cfg)
		if (err == nil) != tt.ok || (floodErr == nil) != tt.ok {
			t.Errorf("%+v: %v, %v", tt.cfg, err, floodErr)
		}
	}
}

// TestSettingsOfUnknownPort: a frame from a port with unknown settings is dropped once any port has
// settings.
func TestSettingsOfUnknownPort(t *testing.T) {
	cfg := PortConfigs{"p2": {VLAN: VLANConfig{Access: 7}}}
	l, err := NewLearning(Config{Ports: cfg})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []policy.Policy{l, newFlood(cfg)} {
		p.SetPorts(portList(1, 2, 3))
		v := decide(p, key(9, host(1), broadcast), 1)
		if v.Install || v.Actions.Len() > 0 || v.Reason != reasonInPortUnknown {
			t.Errorf("%+v", v)
		}
	}
}

// TestRestoreByVLAN: when settings change, MACs of a port in VLANs that it no longer carries are
// not taken over.
func TestRestoreByVLAN(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	decide(l, stackedKey(1, host(1), broadcast, tag{0x8100, 0x1005}), 1)
	decide(l, stackedKey(1, host(2), broadcast), 1)
	decide(l, stackedKey(2, host(3), broadcast, tag{0x8100, 0x1005}), 1)
	next, err := NewLearning(Config{Ports: PortConfigs{"p1": {VLAN: VLANConfig{Trunk: []VLANRange{{6, 9}}}}}})
	if err != nil {
		t.Fatal(err)
	}
	next.SetPorts(portList(1, 2))
	next.Restore(l.Snapshot())
	if got := next.Snapshot(); len(got) != 1 || got[0] != (MACEntry{VLAN: 5, MAC: host(3), Port: 2, SeenMS: 1}) {
		t.Errorf("%+v", got)
	}
}

func TestVLANAllocs(t *testing.T) {
	cfg := PortConfigs{
		"p1": {VLAN: VLANConfig{Access: 10}}, "p2": {VLAN: VLANConfig{Native: 10}},
		"p3": {Isolated: true}, "p4": {Isolated: true, Hairpin: true},
	}
	l, err := NewLearning(Config{Ports: cfg})
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(portList(1, 2, 3, 4))
	for _, k := range [][]byte{
		stackedKey(1, host(1), broadcast), stackedKey(3, host(3), broadcast, tag{0x8100, 0x100a}),
		stackedKey(2, host(2), host(1), tag{0x8100, 0xb000}), stackedKey(1, host(1), host(2), tag{0x8100, 0x1007}),
	} {
		in, _ := odp.InPort(k)
		u := dpif.Upcall{InPort: in, Key: k}
		var v policy.Verdict
		if n := testing.AllocsPerRun(100, func() {
			v.Clear()
			l.Decide(&u, 5, &v)
			v.Clear()
			if !l.Redecide(k, &v) {
				t.Fatal(v.Reason)
			}
			l.Observe(k, 5)
		}); n != 0 {
			t.Errorf("%s: %v allocations", v.Reason, n)
		}
	}
}
