package forward

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

const agingMS = 10_000

func newLearning(t testing.TB, limit int, nos ...odp.PortNo) *Learning {
	t.Helper()
	l, err := NewLearning(Config{MACAging: agingMS * time.Millisecond, MACLimit: limit})
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(portList(nos...))
	return l
}

func TestConfig(t *testing.T) {
	for _, tt := range []struct {
		cfg Config
		ok  bool
	}{
		{Config{}, true},
		{Config{MACAging: time.Second, MACLimit: 1}, true},
		{Config{MACAging: 24 * time.Hour, MACLimit: 1000}, true},
		{Config{MACAging: time.Second - 1}, false},
		{Config{MACAging: -time.Second}, false},
		{Config{MACAging: 24*time.Hour + 1}, false},
		{Config{MACLimit: -1}, false},
		{Config{MACLimit: 1_000_001}, false},
	} {
		l, err := NewLearning(tt.cfg)
		if (err == nil) != tt.ok || (l != nil) != tt.ok {
			t.Errorf("%+v: %v", tt.cfg, err)
		}
	}
	l, _ := NewLearning(Config{})
	if l.agingMS != 300_000 || len(l.table.entries) != 8192 {
		t.Errorf("defaults: %d ms, %d MACs", l.agingMS, len(l.table.entries))
	}
}

func TestLearningVerdicts(t *testing.T) {
	group := odp.MAC{0x01, 0x00, 0x5e, 0x7f, 0x00, 0x01}
	ff := func(n int) (m odp.MAC) { copy(m[:], exact[:n]); return m }
	tests := []struct {
		name     string
		in       odp.PortNo
		src, dst odp.MAC
		tci      uint16
		want     []odp.PortNo
		reason   string
		srcMask  odp.MAC
		dstMask  odp.MAC
		learns   bool
	}{
		{"known", 2, host(20), host(1), 0, []odp.PortNo{1}, "learned_unicast", exact, exact, true},
		{"known in another VLAN", 2, host(20), host(1), 0x100a, []odp.PortNo{1, 3}, "unknown_unicast", exact, exact, true},
		{"known, from a multicast source", 2, group, host(1), 0, []odp.PortNo{1}, "learned_unicast", groupBit, exact, false},
		{"known, from the zero source", 2, odp.MAC{}, host(1), 0, []odp.PortNo{1}, "learned_unicast", exact, exact, false},
		{"unknown", 2, host(21), host(99), 0, []odp.PortNo{1, 3}, "unknown_unicast", exact, exact, true},
		{"unknown, from a multicast source", 3, broadcast, host(99), 0, []odp.PortNo{1, 2}, "unknown_unicast", groupBit, exact, false},
		{"on the in-port", 1, host(22), host(1), 0, nil, "same_port", exact, exact, true},
		{"to itself", 3, host(23), host(23), 0, nil, "same_port", exact, exact, true},
		{"broadcast", 3, host(24), broadcast, 0, []odp.PortNo{1, 2}, "multicast", exact, exact, true},
		{"nearly broadcast", 3, host(36), odp.MAC{0xff, 0xff, 0xf1, 2, 3, 4}, 0, []odp.PortNo{1, 2}, "multicast", exact, ff(3), true},
		{"IPv6 multicast", 1, host(25), odp.MAC{0x33, 0x33, 0xff, 1, 2, 3}, 0, []odp.PortNo{2, 3}, "multicast", exact, ff(1), true},
		{"IPv4 multicast", 1, host(26), group, 0, []odp.PortNo{2, 3}, "multicast", exact, ff(3), true},
		{"multicast from multicast", 1, group, group, 0, []odp.PortNo{2, 3}, "multicast", groupBit, ff(3), false},
		{"next to reserved", 1, host(27), odp.MAC{0x01, 0x80, 0xc2, 0, 0, 0x10}, 0, []odp.PortNo{2, 3}, "multicast", exact, reserved[0].mask, true},
		{"fifth byte", 1, host(28), odp.MAC{0x01, 0x80, 0xc2, 0, 1, 0}, 0, []odp.PortNo{2, 3}, "multicast", exact, ff(5), true},
		{"unicast like reserved", 1, host(29), odp.MAC{0x00, 0x80, 0xc2, 0, 0, 0}, 0, []odp.PortNo{2, 3}, "unknown_unicast", exact, exact, true},
		{"reserved, first", 1, host(30), reserved[0].addr, 0, nil, "reserved_multicast", odp.MAC{}, reserved[0].mask, false},
		{"Cisco", 1, host(32), odp.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xcd}, 0, nil, "reserved_multicast", odp.MAC{}, exact, false},
		{"Cisco CFM", 1, host(33), odp.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xc7}, 0, nil, "reserved_multicast", odp.MAC{}, exact, false},
		{"next to CFM", 1, host(34), odp.MAC{0x01, 0x00, 0x0c, 0xcc, 0xcc, 0xc8}, 0, []odp.PortNo{2, 3}, "multicast", exact, exact, true},
		{"Extreme, which is no multicast", 1, host(35), odp.MAC{0x00, 0xe0, 0x2b, 0, 0, 4}, 0, nil, "reserved_multicast", odp.MAC{}, exact, false},
		{"next to Extreme", 1, host(36), odp.MAC{0x00, 0xe0, 0x2b, 0, 0, 5}, 0, []odp.PortNo{2, 3}, "unknown_unicast", exact, exact, true},
		{"reserved, last", 2, host(31), odp.MAC{0x01, 0x80, 0xc2, 0, 0, 0x0f}, 0x1001, nil, "reserved_multicast", odp.MAC{}, reserved[0].mask, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := newLearning(t, 100, 1, 2, 3)
			decide(l, key(1, host(1), broadcast), 5)
			before := l.Generation()
			k := taggedKey(tt.in, tt.src, tt.dst, tt.tci)
			v := decide(l, k, 7)
			wantOutputs(t, v, tt.want...)
			src, dst := maskOf(t, v)
			if !v.Install || v.Reason != tt.reason || src != tt.srcMask || dst != tt.dstMask {
				t.Errorf("install %v, %s, source mask %v, destination mask %v", v.Install, v.Reason, src, dst)
			}
			entry := MACEntry{VLAN: tt.tci & vidMask, MAC: tt.src, Port: tt.in, SeenMS: 7}
			if learned := slices.Contains(l.Snapshot(), entry); learned != tt.learns {
				t.Errorf("learned %v, want %v", learned, tt.learns)
			}
			if l.Generation() != before {
				t.Error("the generation grew for a MAC that nobody had sent to")
			}
			again, ok := redecide(l, masked(t, k, v))
			wantOutputs(t, again, tt.want...)
			if !ok || string(again.Mask.Bytes()) != string(v.Mask.Bytes()) {
				t.Errorf("re-decided %v with mask %x, was %x", ok, again.Mask.Bytes(), v.Mask.Bytes())
			}
		})
	}
}

func TestLearningWithoutFlow(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	decide(l, key(1, host(1), broadcast), 1)

	v := decide(l, key(3, host(3), host(1)), 2) // the port is not known yet
	wantOutputs(t, v, 1)
	if v.Install {
		t.Error("a flow from an unknown port")
	}
	v = decide(l, key(3, host(3), broadcast), 2)
	wantOutputs(t, v, 1, 2)
	if s := l.Stats(); s.Entries != 1 {
		t.Errorf("learned from an unknown port: %+v", s)
	}

	// A port was removed, but its MACs not yet.
	decide(l, key(2, host(2), broadcast), 2)
	l.store(newPortSet(portList(1, 4), nil, nil))
	wantOutputs(t, decide(l, key(1, host(1), host(2)), 3), 4)

	v = decide(l, key(1, host(1), broadcast)[:30], 3)
	wantOutputs(t, v)
	if v.Install || v.Reason != reasonMalformedKey {
		t.Errorf("malformed key: %+v", v)
	}
}

func TestRedecide(t *testing.T) {
	l := newLearning(t, 10, 1, 2, 3)
	a, b := key(1, host(1), host(2)), key(2, host(2), host(1))
	decide(l, a, 10)
	decide(l, b, 11)
	want := func(step string, k []byte, keep bool, reason string, out ...odp.PortNo) {
		t.Helper()
		g := l.Generation()
		v, ok := redecide(l, k)
		if ok != keep || v.Install != keep || v.Reason != reason {
			t.Errorf("%s: keep %v, install %v, %s", step, ok, v.Install, v.Reason)
		}
		wantOutputs(t, v, out...)
		if l.Generation() != g {
			t.Errorf("%s: the generation grew", step)
		}
	}
	want("both known", a, true, "learned_unicast", 2)
	decide(l, key(3, host(2), broadcast), 12)
	want("destination moved", a, true, "learned_unicast", 3)
	want("source moved", b, false, "source_moved")
	l.SetPorts(portList(1, 2))
	want("destination's port gone", a, true, "unknown_unicast", 2)
	want("source unknown", b, false, "source_unknown")
	want("multicast source", key(2, broadcast, host(1)), true, "learned_unicast", 1)
	want("reserved", key(2, host(50), reserved[0].addr), true, "reserved_multicast")
	l.SetPorts(portList(2))
	want("in-port gone", a, false, reasonInPortGone)
	want("malformed", a[:9], false, reasonMalformedKey)
}

func TestObserve(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	at := func() odp.PortNo {
		port, ok := l.table.lookup(macKey(0, host(1)))
		if !ok {
			return odp.PortNo(odp.MaxPorts)
		}
		return port
	}
	p1, p2 := key(1, host(1), host(9)), key(2, host(1), broadcast)
	flooded := key(2, broadcast, host(1))
	decide(l, flooded, 1)
	steps := []struct {
		name string
		do   func()
		want odp.PortNo
		grow bool
	}{
		{"never used", func() { l.Observe(p1, 0) }, odp.MaxPorts, false},
		{"unknown port", func() { l.Observe(key(7, host(1), host(9)), 40) }, odp.MaxPorts, false},
		{"reserved", func() { l.Observe(key(1, host(1), reserved[0].addr), 40) }, odp.MaxPorts, false},
		{"malformed", func() { l.Observe(p1[:33], 40) }, odp.MaxPorts, false},
		{"first", func() { l.Observe(p1, 50) }, 1, true},
		{"older elsewhere", func() { l.Observe(p2, 49) }, 1, false},
		{"as old elsewhere", func() { l.Observe(p2, 50) }, 1, false},
		{"newer elsewhere", func() { l.Observe(p2, 51) }, 2, true},
		{"again", func() { l.Observe(p2, 60) }, 2, false},
		{"older there", func() { l.Observe(p2, 55) }, 2, false},
		{"between", func() { l.Observe(p1, 58) }, 2, false},
		{"a packet at hand wins", func() { decide(l, p1, 60) }, 1, true},
		{"even if its clock is behind", func() { decide(l, p2, 59) }, 2, true},
		{"as old as the newest", func() { l.Observe(p1, 60) }, 2, false},
		{"aged out, with flows to it", func() { decide(l, flooded, 61); l.Expire(61 + agingMS) }, odp.MaxPorts, true},
		{"seen before that", func() { l.Observe(p1, 60) }, odp.MaxPorts, false},
		{"seen again on another port", func() { l.Observe(p1, 61) }, 1, true},
		{"aged out, without flows to it", func() { l.Expire(62 + agingMS) }, odp.MaxPorts, false},
		{"seen again, without floods to it", func() { l.Observe(p1, 62) }, 1, false},
		{"aged out again", func() { l.Expire(63 + agingMS); decide(l, flooded, 63+agingMS) }, odp.MaxPorts, false},
		{"flooded to meanwhile", func() { l.Observe(p1, 64+agingMS) }, 1, true},
	}
	for _, s := range steps {
		g := l.Generation()
		s.do()
		if at() != s.want || (l.Generation() > g) != s.grow {
			t.Fatalf("%s: on port %v, want %v; generation grew: %v, want %v", s.name, at(), s.want, l.Generation() > g, s.grow)
		}
	}
}

// TestObserveFormerPort: a port has a number that another one had before.
func TestObserveFormerPort(t *testing.T) {
	const since = 1000
	for _, tt := range []struct {
		name string
		cfg  PortConfigs
		late policy.Port
		key  []byte
	}{
		{"plain", nil, policy.Port{No: 2, Name: "b"}, key(2, host(1), host(9))},
		{"settings", PortConfigs{"b": {VLAN: VLANConfig{Access: 7}}}, policy.Port{No: 2, Name: "b"}, key(2, host(1), host(9))},
		{"tunnel", tunnelPorts(), policy.Port{No: deviceNo, Name: "dev"}, tunneledKey(deviceNo, host(1), host(9), 42, "192.0.2.9", "192.0.2.5")},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := NewLearning(Config{MACAging: agingMS * time.Millisecond, MACLimit: 10, Ports: tt.cfg})
			if err != nil {
				t.Fatal(err)
			}
			l.SetPorts(portList(1))
			tt.late.SinceMS = since
			l.SetPorts(append(portList(1), tt.late))
			l.Observe(tt.key, since-1)
			if s := l.Snapshot(); len(s) != 0 {
				t.Errorf("learned %v from a flow last used before the port came", s)
			}
			l.Observe(tt.key, since)
			if s := l.Snapshot(); len(s) != 1 {
				t.Errorf("learned %v from a flow used since", s)
			}
		})
	}
}

// TestObserveWildcardedSource uses the key of a flow that matches any source.
func TestObserveWildcardedSource(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	f := newFlood(nil)
	f.SetPorts(portList(1, 2))
	k := key(1, host(1), host(2))
	dumped := masked(t, k, decide(f, k, 1))
	l.Observe(dumped, 100)
	if s := l.Snapshot(); len(s) != 0 {
		t.Errorf("learned %v", s)
	}
	v, ok := redecide(l, dumped)
	covers, err := odp.MaskCovers(decide(f, k, 1).Mask.Bytes(), v.Mask.Bytes())
	if !ok || covers || err != nil {
		t.Errorf("kept %v, covers %v, error %v", ok, covers, err)
	}
}

func TestExpire(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	decide(l, key(1, host(1), broadcast), 1000)
	decide(l, key(2, host(2), host(1)), 1001)
	steps := []struct {
		now            int64
		expiring, grow bool
		left           int
	}{
		{1000 + agingMS, false, false, 2},
		{1001 + agingMS, true, true, 1},
		{1001 + agingMS, false, false, 1},
		{1002 + agingMS, true, false, 0}, // no flow outputs to it
		{1 << 50, false, false, 0},
	}
	for _, s := range steps {
		g := l.Generation()
		if got := l.Expiring(s.now); got != s.expiring {
			t.Errorf("at %d: Expiring %v", s.now, got)
		}
		l.Expire(s.now)
		if got := len(l.Snapshot()); got != s.left || (l.Generation() > g) != s.grow {
			t.Errorf("at %d: %d left, want %d; generation grew: %v", s.now, got, s.left, l.Generation() > g)
		}
	}
}

// TestSilentDuringDump: a MAC that has aged out and is sent to during a full dump causes another
// full dump.
func TestSilentDuringDump(t *testing.T) {
	l := newLearning(t, 10, 1, 2)
	decide(l, key(1, host(1), broadcast), 1000)
	now := int64(2000 + agingMS)
	l.Expire(now)
	decide(l, key(2, host(2), host(1)), now)
	if !l.Expiring(now) {
		t.Fatal("no full dump for flows from an aged-out MAC")
	}
	decide(l, key(1, host(3), broadcast), now)
	l.Flush(now, func(_ uint16, no odp.PortNo) bool { return no == 1 })
	decide(l, key(2, host(2), host(3)), now)
	l.Expire(now)
	if !l.Expiring(now) {
		t.Error("no full dump for a MAC that was sent to meanwhile")
	}
	if l.Expire(now); l.Expiring(now) {
		t.Error("full dumps do not end")
	}
}

// TestMasksPartition checks for random packets what Redecide and adoption rely on: deciding on a
// flow's dumped key gives the same actions and mask, and two packets whose flows overlap have the
// same flow.
func TestMasksPartition(t *testing.T) {
	l := newLearning(t, 100, 1, 2, 3)
	random := rand.New(rand.NewPCG(3, 4))
	// Including addresses close to the reserved ones.
	mac := func() odp.MAC {
		m := reserved[random.IntN(len(reserved))].addr
		for range random.IntN(4) {
			i := random.IntN(48)
			m[i/8] ^= 1 << (i % 8)
		}
		if random.IntN(3) == 0 {
			m = host(random.IntN(8))
		}
		return m
	}
	type flow struct {
		src, dst, srcMask, dstMask odp.MAC
		dumped                     []byte
	}
	var flows []flow
	for range 600 {
		f := flow{src: mac(), dst: mac()}
		k := key(1, f.src, f.dst)
		v := decide(l, k, 1)
		f.srcMask, f.dstMask = maskOf(t, v)
		f.dumped = masked(t, k, v)
		again, ok := redecide(l, f.dumped)
		if !ok || string(again.Actions.Bytes()) != string(v.Actions.Bytes()) ||
			string(again.Mask.Bytes()) != string(v.Mask.Bytes()) {
			t.Fatalf("%v to %v: %s, re-decided %v as %s", f.src, f.dst, v.Reason, ok, again.Reason)
		}
		flows = append(flows, f)
	}
	and := func(a, b odp.MAC) uint64 { return a.Uint64() & b.Uint64() }
	for _, f := range flows {
		for _, g := range flows {
			covers := and(f.srcMask, f.src) == and(f.srcMask, g.src) && and(f.dstMask, f.dst) == and(f.dstMask, g.dst)
			if same := string(f.dumped) == string(g.dumped); covers != same {
				t.Fatalf("the flow of %v to %v covers %v to %v: %v; same flow: %v", f.src, f.dst, g.src, g.dst, covers, same)
			}
		}
	}
}
