package forward

import (
	"encoding/binary"
	"net/netip"
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

const (
	deviceNo  = 7
	deviceNo6 = 8
)

// tunnelPorts are a host's port 1, a mirror 2, and tunnels on two devices.
func tunnelPorts() PortConfigs {
	t := func(no odp.PortNo, device, remote string, key uint64) *TunnelConfig {
		return &TunnelConfig{No: FirstTunnelNo + no, Device: device, Remote: netip.MustParseAddr(remote), Key: key,
			DstPort: 4789, TTL: 64}
	}
	local := t(2, "dev", "192.0.2.9", 42)
	local.Local = netip.MustParseAddr("192.0.2.1")
	gre := t(3, "dev6", "2001:db8::9", 0)
	gre.KeyOptional, gre.DstPort, gre.TTL, gre.TOS = true, 0, 3, 0xb8
	return PortConfigs{
		"one": {Tunnel: t(0, "dev", "192.0.2.9", 42)}, "two": {Tunnel: t(1, "dev", "192.0.2.9", 43)},
		"local": {Tunnel: local}, "gre": {Tunnel: gre},
	}
}

func tunnelPortList() []policy.Port {
	return []policy.Port{{No: 1, Name: "host"}, {No: deviceNo, Name: "dev"}, {No: deviceNo6, Name: "dev6"}}
}

// tunneledKey is key as the kernel extracts it from a packet that came from a tunnel.
func tunneledKey(in odp.PortNo, src, dst odp.MAC, id uint64, from, to string) []byte {
	var e netlink.Encoder
	e.Nested(odp.KeyAttrTunnel, func(e *netlink.Encoder) {
		if id != 0 {
			e.Attr(odp.TunnelAttrID, binary.BigEndian.AppendUint64(nil, id))
		}
		s, d := netip.MustParseAddr(from), netip.MustParseAddr(to)
		if s.Is4() {
			e.Attr(odp.TunnelAttrIPv4Src, s.AsSlice())
			e.Attr(odp.TunnelAttrIPv4Dst, d.AsSlice())
		} else {
			e.Attr(odp.TunnelAttrIPv6Src, s.AsSlice())
			e.Attr(odp.TunnelAttrIPv6Dst, d.AsSlice())
		}
		e.Uint8(odp.TunnelAttrTTL, 61)
	})
	return append(e.Bytes(), key(in, src, dst)...)
}

// verdictText returns a verdict's reason and actions in ODP text.
func verdictText(v *policy.Verdict) string {
	return v.Reason + " " + string(odp.Text{}.AppendActions(nil, v.Actions.Bytes()))
}

func newTunnelSwitch(t testing.TB, cfg PortConfigs) *Learning {
	t.Helper()
	l, err := NewLearning(Config{Ports: cfg})
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(tunnelPortList())
	return l
}

const (
	toOne   = "set(tunnel(tun_id=0x2a,dst=192.0.2.9,ttl=64,tp_dst=4789,flags(df|key))),7"
	toTwo   = "set(tunnel(tun_id=0x2b,dst=192.0.2.9,ttl=64,tp_dst=4789,flags(df|key))),7"
	toLocal = "set(tunnel(tun_id=0x2a,src=192.0.2.1,dst=192.0.2.9,ttl=64,tp_dst=4789,flags(df|key))),7"
	toGRE   = "set(tunnel(ipv6_dst=2001:db8::9,tos=0xb8,ttl=3,flags(df))),8"
)

// TestTunnels: the outer addresses and the key determine the tunnel of a packet; packets enter a
// tunnel by a set action.
func TestTunnels(t *testing.T) {
	l := newTunnelSwitch(t, tunnelPorts())
	one := func(src, dst odp.MAC) []byte { return tunneledKey(deviceNo, src, dst, 42, "192.0.2.9", "192.0.2.5") }
	for _, tt := range []struct {
		name string
		key  []byte
		want string
	}{
		{"host floods", key(1, host(1), broadcast), "multicast " + toOne + "," + toTwo + "," + toLocal + "," + toGRE},
		{"tunnel one", one(host(2), broadcast), "multicast 1," + toTwo + "," + toLocal + "," + toGRE},
		{"tunnel two", tunneledKey(deviceNo, host(3), host(1), 43, "192.0.2.9", "192.0.2.1"), "learned_unicast 1"},
		{"to this side's address", tunneledKey(deviceNo, host(4), host(1), 42, "192.0.2.9", "192.0.2.1"), "learned_unicast 1"},
		{"gre over IPv6", tunneledKey(deviceNo6, host(5), host(1), 0, "2001:db8::9", "2001:db8::1"), "learned_unicast 1"},
		{"known behind one", key(1, host(1), host(2)), "learned_unicast " + toOne},
		{"known behind two", one(host(2), host(3)), "learned_unicast " + toTwo},
		{"known behind the one with this side's address", key(1, host(1), host(4)), "learned_unicast " + toLocal},
		{"known behind gre", key(1, host(1), host(5)), "learned_unicast " + toGRE},
		{"same tunnel", one(host(2), host(2)), "same_port drop"},
		{"other key", tunneledKey(deviceNo, host(6), host(1), 44, "192.0.2.9", "192.0.2.1"), "no_such_tunnel drop"},
		{"other peer", tunneledKey(deviceNo, host(6), host(1), 42, "192.0.2.8", "192.0.2.1"), "no_such_tunnel drop"},
		{"other device", tunneledKey(deviceNo6, host(6), host(1), 42, "192.0.2.9", "192.0.2.1"), "no_such_tunnel drop"},
		{"without tunnel", key(deviceNo, host(6), host(1)), "malformed_key drop"},
		{"reserved", one(host(2), reserved[0].addr), "reserved_multicast drop"},
	} {
		v := decide(l, tt.key, 5)
		if got := verdictText(v); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
		if v.Install != (v.Reason != reasonMalformedKey) {
			t.Errorf("%s: install %v", tt.name, v.Install)
		}
		if again, ok := redecide(l, tt.key); ok != v.Install ||
			ok && (verdictText(again) != verdictText(v) || !slices.Equal(again.Mask.Bytes(), v.Mask.Bytes())) {
			t.Errorf("%s: re-decided %v, %s", tt.name, ok, verdictText(again))
		}
	}
	if e := l.Snapshot(); len(e) != 5 || e[1].Port != FirstTunnelNo {
		t.Errorf("MAC table %+v", e)
	}

	// A device is removed, and its tunnels with it.
	l.SetPorts(tunnelPortList()[:2])
	got := verdictText(decide(l, key(1, host(1), host(5)), 6))
	if got != "unknown_unicast "+toOne+","+toTwo+","+toLocal {
		t.Errorf("without dev6: %s", got)
	}
	if v, ok := redecide(l, tunneledKey(deviceNo6, host(5), host(1), 0, "2001:db8::9", "2001:db8::1")); ok ||
		v.Reason != reasonInPortGone {
		t.Errorf("without dev6: %v, %s", ok, v.Reason)
	}
}

// TestTunnelMask: the mask has the tunnel fields that were read, and the TOS if a tunnel inherits
// it.
func TestTunnelMask(t *testing.T) {
	need := func(ip6, tos bool, k []byte) []byte {
		var e netlink.Encoder
		odp.AppendInPortMask(&e)
		odp.AppendTunnelMask(&e, ip6)
		if tos {
			odp.AppendTOSMask(&e, k)
		}
		return e.Bytes()
	}
	for _, inherits := range []bool{false, true} {
		cfg := tunnelPorts()
		cfg["two"].Tunnel.TOSInherit = inherits
		f, err := NewFlood(cfg)
		if err != nil {
			t.Fatal(err)
		}
		f.SetPorts(tunnelPortList())
		for _, p := range []policy.Policy{newTunnelSwitch(t, cfg), f} {
			for _, k := range [][]byte{
				tunneledKey(deviceNo, host(2), broadcast, 42, "192.0.2.9", "192.0.2.5"),
				tunneledKey(deviceNo6, host(2), broadcast, 0, "2001:db8::9", "2001:db8::1"),
				tunneledKey(deviceNo, host(2), broadcast, 99, "192.0.2.9", "192.0.2.5"),
			} {
				v := decide(p, k, 1)
				in, _ := odp.InPort(k)
				ok, err := odp.MaskCovers(v.Mask.Bytes(), need(in == deviceNo6, inherits && v.Reason != reasonNoTunnel, k))
				if err != nil || !ok || !v.Install {
					t.Errorf("%s from port %d: mask %x, %v; install %v", v.Reason, in, v.Mask.Bytes(), err, v.Install)
				}
			}
			if ok, _ := odp.MaskCovers(decide(p, key(1, host(1), broadcast), 1).Mask.Bytes(), need(false, false, nil)); ok {
				t.Error("the mask of a packet without a tunnel has tunnel fields")
			}
		}
	}
}

// TestTunnelTOS: a tunnel with inherited TOS takes it from the packet, without the ECN bits; the
// others keep theirs.
func TestTunnelTOS(t *testing.T) {
	cfg := tunnelPorts()
	cfg["two"].Tunnel.TOSInherit = true
	l := newTunnelSwitch(t, cfg)
	withTOS := func(tos byte) []byte {
		k := key(1, host(1), broadcast)
		it := netlink.NewAttrs(k)
		for it.Next() {
			if it.Type() == odp.KeyAttrIPv4 {
				it.Data()[9] = tos
			}
		}
		return k
	}
	const two = "set(tunnel(tun_id=0x2b,dst=192.0.2.9,tos=0xb8,ttl=64,tp_dst=4789,flags(df|key))),7"
	for tos, want := range map[byte]string{0: toTwo, 3: toTwo, 0xb8: two, 0xb9: two} {
		v := decide(l, withTOS(tos), 1)
		if got := verdictText(v); got != "multicast "+toOne+","+want+","+toLocal+","+toGRE {
			t.Errorf("TOS %#x: %s", tos, got)
		}
	}
	decide(l, tunneledKey(deviceNo, host(2), broadcast, 43, "192.0.2.9", "192.0.2.5"), 2)
	k := withTOS(0xb8)
	dst := host(2)
	copy(k[8+8+8+8+4+6:], dst[:])
	if got := verdictText(decide(l, k, 3)); got != "learned_unicast "+two {
		t.Errorf("unicast: %s", got)
	}
}

// TestIsolatedTunnels: isolated tunnels on one device do not reach each other.
func TestIsolatedTunnels(t *testing.T) {
	cfg := tunnelPorts()
	for _, name := range []string{"one", "two", "gre"} {
		p := cfg[name]
		p.Isolated = true
		cfg[name] = p
	}
	l := newTunnelSwitch(t, cfg)
	flood := tunneledKey(deviceNo, host(2), broadcast, 42, "192.0.2.9", "192.0.2.5")
	if got := verdictText(decide(l, flood, 1)); got != "multicast 1,"+toLocal {
		t.Errorf("flood out of an isolated tunnel: %s", got)
	}
	between := tunneledKey(deviceNo, host(3), host(2), 43, "192.0.2.9", "192.0.2.5")
	if got := verdictText(decide(l, between, 1)); got != "isolated drop" {
		t.Errorf("from one isolated tunnel to another: %s", got)
	}
}

// TestMirrors: copies go to the mirror of the in-port first, then to that of each out-port.
func TestMirrors(t *testing.T) {
	cfg := tunnelPorts()
	delete(cfg, "local")
	delete(cfg, "gre")
	cfg["host"] = PortConfig{MirrorTo: "eye"}
	one := cfg["one"]
	one.MirrorTo = "eye"
	cfg["one"] = one
	l := newTunnelSwitch(t, cfg)
	list := []policy.Port{{No: 1, Name: "host"}, {No: deviceNo, Name: "dev"}, {No: 9, Name: "eye"}, {No: 4, Name: "other"}}
	l.SetPorts(list)
	for _, tt := range []struct {
		name string
		key  []byte
		want string
	}{
		{"flood", key(1, host(1), broadcast), "multicast 9,4," + toOne + ",9," + toTwo},
		{"out of a tunnel", tunneledKey(deviceNo, host(2), host(1), 42, "192.0.2.9", "192.0.2.5"), "learned_unicast 9,1,9"},
		{"past both", key(4, host(4), broadcast), "multicast 1,9," + toOne + ",9," + toTwo},
		{"reserved", key(1, host(1), reserved[0].addr), "reserved_multicast 9"},
		{"in at the mirror", key(9, host(9), host(1)), "mirror_port drop"},
		{"what came in at the mirror was not learned", key(4, host(4), host(9)), "unknown_unicast 1,9," + toOne + ",9," + toTwo},
	} {
		v := decide(l, tt.key, 5)
		if got := verdictText(v); got != tt.want || !v.Install {
			t.Errorf("%s: %s, install %v; want %s", tt.name, got, v.Install, tt.want)
		}
		if again, ok := redecide(l, tt.key); !ok || verdictText(again) != verdictText(v) {
			t.Errorf("%s: re-decided %v, %s", tt.name, ok, verdictText(again))
		}
	}
	// Without the mirror there are no copies.
	l.SetPorts(slices.Delete(slices.Clone(list), 2, 3))
	if got := verdictText(decide(l, key(1, host(1), broadcast), 6)); got != "multicast 4,"+toOne+","+toTwo {
		t.Errorf("without the mirror: %s", got)
	}
}

func TestTunnelConfigs(t *testing.T) {
	good := TunnelConfig{No: FirstTunnelNo, Device: "dev", Remote: netip.MustParseAddr("192.0.2.1")}
	for name, spoil := range map[string]func(*TunnelConfig){
		"number":   func(c *TunnelConfig) { c.No = FirstTunnelNo - 1 },
		"device":   func(c *TunnelConfig) { c.Device = "" },
		"peer":     func(c *TunnelConfig) { c.Remote = netip.Addr{} },
		"families": func(c *TunnelConfig) { c.Local = netip.MustParseAddr("::1") },
	} {
		c := good
		spoil(&c)
		if _, err := NewFlood(PortConfigs{"t": {Tunnel: &c}}); err == nil {
			t.Errorf("wrong %s is accepted", name)
		}
	}
	if _, err := NewFlood(PortConfigs{"t": {Tunnel: &good}}); err != nil {
		t.Error(err)
	}
}

func TestTunnelDecideAllocs(t *testing.T) {
	cfg := tunnelPorts()
	cfg["two"].Tunnel.TOSInherit = true
	l := newTunnelSwitch(t, cfg)
	for _, k := range [][]byte{
		tunneledKey(deviceNo, host(2), broadcast, 42, "192.0.2.9", "192.0.2.5"),
		tunneledKey(deviceNo6, host(3), host(2), 0, "2001:db8::9", "2001:db8::1"),
		tunneledKey(deviceNo, host(2), broadcast, 99, "192.0.2.9", "192.0.2.5"),
	} {
		u := dpif.Upcall{InPort: deviceNo, Key: k}
		var v policy.Verdict
		if n := testing.AllocsPerRun(200, func() {
			v.Clear()
			l.Decide(&u, 10, &v)
			v.Clear()
			if !l.Redecide(k, &v) {
				t.Fatal(v.Reason)
			}
			l.Observe(k, 10)
		}); n != 0 {
			t.Errorf("%s: %v allocations", v.Reason, n)
		}
	}
}

func FuzzTunnels(f *testing.F) {
	f.Add(key(1, host(1), host(2)))
	f.Add(tunneledKey(deviceNo, host(2), broadcast, 42, "192.0.2.9", "192.0.2.5"))
	f.Add(tunneledKey(deviceNo6, host(3), host(2), 0, "2001:db8::9", "2001:db8::1"))
	f.Add(append(tunneledKey(deviceNo, host(2), host(3), 43, "192.0.2.9", "192.0.2.1"),
		taggedKey(deviceNo, host(2), host(3), 0x100a)...))
	f.Fuzz(func(t *testing.T, k []byte) {
		cfg := tunnelPorts()
		cfg["two"].Tunnel.TOSInherit = true
		cfg["host"] = PortConfig{MirrorTo: "one"}
		flood, err := NewFlood(cfg)
		if err != nil {
			t.Fatal(err)
		}
		flood.SetPorts(tunnelPortList())
		for _, p := range []policy.Policy{newTunnelSwitch(t, cfg), flood} {
			p.Observe(k, 4)
			v := decide(p, k, 5)
			if v.Reason == "" || v.Actions.Err() != nil || v.Mask.Err() != nil {
				t.Errorf("verdict %+v", v)
			}
			again, ok := redecide(p, k)
			if ok != v.Install || ok && verdictText(again) != verdictText(v) {
				t.Errorf("%s, install %v; re-decided %v as %s", verdictText(v), v.Install, ok, verdictText(again))
			}
		}
	})
}

// TestExplainTunnels: explanations of packets with tunnels and mirrors agree with the decisions.
func TestExplainTunnels(t *testing.T) {
	cfg := tunnelPorts()
	cfg["host"] = PortConfig{MirrorTo: "two"}
	l := newTunnelSwitch(t, cfg)
	flood, err := NewFlood(cfg)
	if err != nil {
		t.Fatal(err)
	}
	flood.SetPorts(tunnelPortList())
	for _, p := range []policy.Policy{l, flood} {
		for want, k := range map[string][]byte{
			"came out of tunnel one, which is port 65536 of the switch":                           tunneledKey(deviceNo, host(2), broadcast, 42, "192.0.2.9", "192.0.2.5"),
			"port 65537 (two) is a mirror port: its received frames are dropped":                  tunneledKey(deviceNo, host(2), broadcast, 43, "192.0.2.9", "192.0.2.5"),
			"port 7 is a device of tunnels, and none has the packet's addresses and key: dropped": tunneledKey(deviceNo, host(2), broadcast, 9, "192.0.2.9", "192.0.2.5"),
			"port 1 (host) is one of the datapath's 5 ports":                                      key(1, host(1), broadcast),
		} {
			var v policy.Verdict
			got := ""
			v.Explain = func(step, found string) {
				if step == "in_port" {
					got = found
				}
			}
			in, _ := odp.InPort(k)
			p.Decide(&dpif.Upcall{InPort: in, Key: k}, 1, &v)
			if got != want {
				t.Errorf("%T: %q, want %q", p, got, want)
			}
			if again := decide(p, k, 2); verdictText(again) != verdictText(&v) {
				t.Errorf("%T: explained %s, decided %s", p, verdictText(&v), verdictText(again))
			}
		}
	}
}
