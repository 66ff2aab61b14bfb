package policyswitch

import (
	"slices"
	"testing"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/loopguard"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

func guarded(t *testing.T, file string) (*Switch, *config.Config) {
	t.Helper()
	cfg, err := config.Parse("x", []byte(file))
	if err != nil {
		t.Fatal(err)
	}
	s := New(func(event.Event) {})
	if err := s.Use(cfg); err != nil {
		t.Fatal(err)
	}
	return s, cfg
}

// TestLoopPorts checks which ports send probes, and in which VLANs.
func TestLoopPorts(t *testing.T) {
	_, cfg := guarded(t, `
loop_guard: log
ports:
  - {name: a}
  - {name: b, loop_guard: block, vlan: {access: 10}}
  - {name: c, loop_guard: off}
  - {name: d, vlan: {trunk: [20-22], native: 21}}
  - {name: e, vlan: {trunk: [30, 40]}, mirror_to: m}
  - {name: m}
  - {name: vx, type: vxlan, tunnel: {remote: 192.0.2.1}}
  - {match: "tap*", loop_guard: block}
`)
	var ports []policy.Port
	for i, name := range []string{"dp0", "a", "b", "c", "d", "e", "m", "vxlan_sys_4789", "tap1", "stray"} {
		ports = append(ports, policy.Port{No: odp.PortNo(i), Name: name})
	}
	want := map[string]loopguard.Port{
		"dp0": {}, "a": {Mode: loopguard.Log, VLANs: []uint16{0}}, "b": {Mode: loopguard.Block, VLANs: []uint16{0}}, "c": {},
		"d": {Mode: loopguard.Log, VLANs: []uint16{0, 20, 22}}, "e": {Mode: loopguard.Log, VLANs: []uint16{30, 40}}, "m": {},
		"vxlan_sys_4789": {}, "tap1": {Mode: loopguard.Block, VLANs: []uint16{0}}, "stray": {},
	}
	for _, p := range loopPorts(cfg, ports, func(no odp.PortNo) bool { return no == 9 }) {
		if w := want[p.Name]; p.Mode != w.Mode || w.Mode != loopguard.Off && !slices.Equal(p.VLANs, w.VLANs) {
			t.Errorf("%+v, want %+v", p, w)
		}
	}
}

// TestProbesPassFlows: under each policy a probe is dropped without a flow, and the flows of other
// packets do not match it.
func TestProbesPassFlows(t *testing.T) {
	for _, name := range []string{"learning", "flood", "drop", "static"} {
		s, _ := guarded(t, "loop_guard: log\nports: [{name: a}, {name: b}]\npolicy: {type: "+name+"}")
		s.SetPorts([]policy.Port{{No: 1, Name: "a", Listed: true}, {No: 2, Name: "b", Listed: true}})
		key := func(src, dst odp.MAC) []byte {
			var e netlink.Encoder
			odp.AppendInPort(&e, 1)
			odp.AppendEthernet(&e, src, dst)
			odp.AppendEthertype(&e, 0x88b5)
			return e.Bytes()
		}
		probe := s.guard.Probe(2, 0)
		probed := key(odp.MAC(probe[6:]), odp.MAC(probe))
		var v policy.Verdict
		s.Decide(&dpif.Upcall{InPort: 1, Key: probed, Packet: probe}, 1000, &v)
		if v.Install || v.Actions.Len() > 0 || v.Reason != "loop_probe" {
			t.Errorf("%s: a probe is decided as %s", name, v.Reason)
		}
		for _, dst := range []odp.MAC{{2, 0, 0, 0, 0, 9}, {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, {0x33, 0x33},
			{0x01, 0x80, 0xc2}, odp.MAC(probe)} {
			k := key(odp.MAC{2, 0, 0, 0, 0, 1}, dst)
			v.Clear()
			s.Decide(&dpif.Upcall{InPort: 1, Key: k, Packet: make([]byte, 60)}, 1000, &v)
			m := netlink.FindAttr(v.Mask.Bytes(), odp.KeyAttrEthernet)
			apart := false
			for i, bits := range m {
				apart = apart || bits&(k[12+i]^probed[12+i]) != 0
			}
			if !v.Install || !apart {
				t.Errorf("%s: the flow to %v has the mask %x, which matches probes", name, dst, m)
			}
			mask := slices.Clone(v.Mask.Bytes())
			if v.Clear(); !s.Redecide(k, &v) || !slices.Equal(v.Mask.Bytes(), mask) {
				t.Errorf("%s: the flow to %v is re-decided with mask %x, not %x", name, dst, v.Mask.Bytes(), mask)
			}
		}
		v.Clear()
		s.Decide(&dpif.Upcall{InPort: 1, Key: probed, Packet: make([]byte, 60)}, 1000, &v)
		if v.Install {
			t.Errorf("%s: a packet with a probe's addresses gets a flow", name)
		}
	}
}

// TestProbesPassStagedFlows: the first of two flows distinguishes packets from probes by their
// source, the second one is the same as without loop_guard.
func TestProbesPassStagedFlows(t *testing.T) {
	decide := func(file string, src *odp.MAC) (*Switch, *policy.Verdict) {
		s, _ := guarded(t, file+"ports: [{name: a}, {name: b}]\nflows: {stages: two}")
		s.SetPorts([]policy.Port{{No: 1, Name: "a", Listed: true}, {No: 2, Name: "b", Listed: true}})
		var e netlink.Encoder
		odp.AppendRecircID(&e, 0)
		odp.AppendInPort(&e, 1)
		if src == nil {
			m := odp.MAC(s.guard.Probe(1, 0)[6:])
			src = &m
		}
		odp.AppendEthernet(&e, *src, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		odp.AppendEthertype(&e, 0x88b5)
		v := &policy.Verdict{}
		s.Decide(&dpif.Upcall{InPort: 1, Key: e.Bytes(), Packet: make([]byte, 60)}, 1000, v)
		return s, v
	}
	station := odp.MAC{2, 0, 0, 0, 0, 1}
	_, plain := decide("", &station)
	_, v := decide("loop_guard: log\n", &station)
	if v.Stage != policy.FirstStage || !v.Install || !slices.Equal(v.Mask.Bytes(), plain.Mask.Bytes()) {
		t.Errorf("stage %v, a flow: %v, mask %x, without loop_guard %x", v.Stage, v.Install, v.Mask.Bytes(),
			plain.Mask.Bytes())
	}
	if m := netlink.FindAttr(v.SourceMask.Bytes(), odp.KeyAttrEthernet); len(m) != 12 ||
		odp.MAC(m) != (odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}) {
		t.Errorf("the first flow has the mask %x of addresses", m)
	}
	if _, v := decide("loop_guard: log\n", nil); v.Install {
		t.Error("a packet with the source of probes gets a flow")
	}
}

// TestGuardAlike checks which changes a reload must detect.
func TestGuardAlike(t *testing.T) {
	parse := func(text string) *config.Config { _, cfg := guarded(t, text); return cfg }
	base := parse("loop_guard: log\nports: [{name: a}, {name: b, loop_guard: block}]")
	for text, want := range map[string]bool{
		"loop_guard: log\nports: [{name: a}, {name: b, loop_guard: block}]": true,
		"loop_guard: off\nports: [{name: a}, {name: b, loop_guard: block}]": false,
		"loop_guard: log\nports: [{name: a}, {name: b}]":                    false,
		"loop_guard: log\nports: [{name: a}, {name: b, loop_guard: off}]":   false,
		"ports: [{name: a}, {name: b}]":                                     false,
		"loop_guard: log\nports: [{name: a, loop_guard: block}, {name: b}]": false,
	} {
		if got := ForwardsAlike(base, parse(text)); got != want {
			t.Errorf("%s: alike %v", text, got)
		}
	}
	if !ForwardsAlike(parse("ports: [{name: a}]"), parse("ports: [{name: a}, {name: b}]")) {
		t.Error("without loop_guard, an additional port is a change")
	}
}

// TestBlockedPort: a blocked port neither sends nor receives, by flows of that port only.
func TestBlockedPort(t *testing.T) {
	s, _ := guarded(t, "loop_guard: block\nports: [{name: a}, {name: b}, {name: c}]")
	s.SetPorts([]policy.Port{{No: 1, Name: "a", Listed: true}, {No: 2, Name: "b", Listed: true},
		{No: 3, Name: "c", Listed: true}})
	var v policy.Verdict
	decide := func(in odp.PortNo) int {
		var e netlink.Encoder
		odp.AppendInPort(&e, in)
		odp.AppendEthernet(&e, odp.MAC{2, 0, 0, 0, 0, byte(in)}, odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff})
		odp.AppendEthertype(&e, 0x88b5)
		v.Clear()
		s.Decide(&dpif.Upcall{InPort: in, Key: e.Bytes(), Packet: make([]byte, 60)}, 1000, &v)
		return v.Actions.Len() / odp.OutputLen
	}
	g := s.Generation()
	if n := decide(1); n != 2 {
		t.Errorf("%d outputs, want 2", n)
	}
	s.Block(map[odp.PortNo]bool{2: true})
	if n := decide(1); n != 1 || s.Generation() == g {
		t.Errorf("%d outputs beside a blocked port, want 1; the generation grew: %v", n, s.Generation() != g)
	}
	if n := decide(2); n != 0 || !v.Install || v.Reason != reasonBlocked || !v.Refused {
		t.Errorf("a packet of a blocked port is decided as %s, %d outputs, a flow: %v", v.Reason, n, v.Install)
	}
	if len(s.guard.Probe(2, 0)) > 0 && netlink.FindAttr(v.Mask.Bytes(), odp.KeyAttrEthernet) != nil {
		t.Error("the flow of a blocked port reads addresses: copies of a probe in a storm cause upcalls")
	}
	g = s.Generation()
	s.Block(nil)
	if n := decide(2); n != 2 || s.Generation() == g {
		t.Errorf("%d outputs from the port after it is open again", n)
	}
}
