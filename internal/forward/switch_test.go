package forward

import (
	"math/rand/v2"
	"testing"

	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

// learningWith returns a policy with settings.
func learningWith(t testing.TB, cfg Config, nos ...odp.PortNo) *Learning {
	t.Helper()
	l, err := NewLearning(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(portList(nos...))
	return l
}

func TestForwardBPDU(t *testing.T) {
	l := learningWith(t, Config{ForwardBPDU: true}, 1, 2, 3)
	for _, b := range reserved {
		k := key(1, host(1), b.addr)
		v := decide(l, k, 1)
		wantOutputs(t, v, 2, 3)
		if _, dst := maskOf(t, v); b.addr.IsMulticast() && dst != (odp.MAC{0xff}) {
			t.Errorf("%v: destination mask %v", b.addr, dst)
		}
	}
	if got := l.Snapshot(); len(got) != 1 || got[0].Port != 1 {
		t.Errorf("learned %v", got)
	}
}

// TestReservedMasks: the bits read from a destination determine whether it is reserved, and the
// masks of two destinations never overlap partially.
func TestReservedMasks(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	type read struct{ dst, mask odp.MAC }
	var all []read
	for range 500 {
		dst := reserved[random.IntN(len(reserved))].addr
		for range random.IntN(4) {
			dst[random.IntN(6)] ^= 1 << random.IntN(8)
		}
		dst[0] |= 1
		all = append(all, read{dst, reservedMask(dst)})
	}
	for _, a := range all {
		for _, b := range all {
			covers := a.dst.Uint64()&a.mask.Uint64() == b.dst.Uint64()&a.mask.Uint64()
			if covers && (a.mask != b.mask || isReserved(a.dst) != isReserved(b.dst)) {
				t.Fatalf("%v/%v covers %v/%v", a.dst, a.mask, b.dst, b.mask)
			}
		}
	}
}

func TestStaticMACs(t *testing.T) {
	fixed := []StaticMAC{{MAC: host(1), Port: "p2"}, {VLAN: 5, MAC: host(1), Port: "p3"}, {MAC: host(9), Port: "p9"}}
	l := learningWith(t, Config{StaticMACs: fixed, MACLimit: 1}, 1, 2, 3)
	wantOutputs(t, decide(l, key(3, host(7), host(1)), 1), 2)
	if v := decide(l, taggedKey(1, host(7), host(1), 0x1005), 1); len(outputs(t, v)) != 1 || outputs(t, v)[0] != 3 {
		t.Errorf("VLAN 5: %v", outputs(t, v))
	}
	// The MAC appears elsewhere, the table is full, and time passes.
	decide(l, key(1, host(1), broadcast), 2)
	decide(l, key(1, host(8), broadcast), 2)
	l.Observe(key(1, host(1), broadcast), 3)
	l.Expire(1 << 50)
	wantOutputs(t, decide(l, key(3, host(7), host(1)), 4), 2)
	v := decide(l, key(1, host(1), broadcast), 5)
	if again, ok := redecide(l, masked(t, key(1, host(1), broadcast), v)); !ok || !again.Install {
		t.Errorf("the flow of a static MAC elsewhere is not kept: %s", again.Reason)
	}
	// Its port does not exist: it is not learned elsewhere either.
	decide(l, key(1, host(9), broadcast), 6)
	wantOutputs(t, decide(l, key(1, host(7), host(9)), 6), 2, 3)
	l.SetPorts(portList(1, 2, 9))
	wantOutputs(t, decide(l, key(1, host(7), host(9)), 7), 9)
	if s := l.Stats(); s.Entries != 1 {
		t.Errorf("%+v", s)
	}
	// A reload takes over learned MACs, but not static ones.
	next := learningWith(t, Config{StaticMACs: []StaticMAC{{MAC: host(7), Port: "p2"}}}, 1, 2, 9)
	next.Restore(l.Snapshot())
	if got := next.Snapshot(); len(got) != 0 {
		t.Errorf("restored %+v", got)
	}
	if got := next.Static(); len(got) != 1 || got[0] != (MACEntry{MAC: host(7), Port: 2}) {
		t.Errorf("static %+v", got)
	}
	shared := learningWith(t, Config{StaticMACs: fixed[:1], SharedLearning: true}, 1, 2, 3)
	wantOutputs(t, decide(shared, taggedKey(1, host(7), host(1), 0x1005), 1), 2)
	for _, bad := range [][]StaticMAC{
		{{MAC: broadcast, Port: "p1"}}, {{Port: "p1"}}, {{VLAN: 4095, MAC: host(1), Port: "p1"}}, {fixed[0], fixed[0]},
	} {
		if _, err := NewLearning(Config{StaticMACs: bad}); err == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
	if _, err := NewLearning(Config{StaticMACs: fixed[:2], SharedLearning: true}); err == nil {
		t.Error("one MAC on two ports, with one table for all VLANs, is accepted")
	}
}

// TestPortMACLimit: a port over its limit loses its own MACs, whether they are new or have moved
// from elsewhere.
func TestPortMACLimit(t *testing.T) {
	l := learningWith(t, Config{MACLimit: 100, Ports: PortConfigs{"p1": {MACLimit: 3}}}, 1, 2)
	for i := range 10 {
		decide(l, key(1, host(i), broadcast), int64(i+1))
		decide(l, key(2, host(100+i), broadcast), int64(i+1))
	}
	verify(t, l)
	want := Stats{Entries: 13, Learned: 20, Evicted: 7, PortEntries: map[odp.PortNo]int{1: 3, 2: 10},
		PortEvicted: map[odp.PortNo]uint64{1: 7, 2: 0}}
	if diff := cmp.Diff(want, l.Stats()); diff != "" {
		t.Errorf("statistics (-want +got):\n%s", diff)
	}
	for i := range 5 {
		decide(l, key(1, host(100+i), broadcast), 20)
	}
	verify(t, l)
	want.Entries, want.Moved, want.Evicted = 8, 5, 12
	want.PortEntries, want.PortEvicted = map[odp.PortNo]int{1: 3, 2: 5}, map[odp.PortNo]uint64{1: 12, 2: 0}
	if diff := cmp.Diff(want, l.Stats()); diff != "" {
		t.Errorf("statistics after moves (-want +got):\n%s", diff)
	}
	l.Observe(key(1, host(50), broadcast), 19) // older than all MACs of the port
	if port, ok := l.table.lookup(macKey(0, host(50))); ok {
		t.Errorf("an older MAC replaced a newer one on port %v", port)
	}
}

// TestGratuitousARP: a station that announces itself on another port has moved there at once, as
// with any frame.
func TestGratuitousARP(t *testing.T) {
	l := newLearning(t, 10, 1, 2, 3)
	arp := func(in string) []byte {
		return parse(t, "in_port("+in+"),eth(src="+host(1).String()+",dst=ff:ff:ff:ff:ff:ff),eth_type(0x0806),"+
			"arp(sip=10.0.0.1,tip=10.0.0.1,op=1,sha="+host(1).String()+",tha=00:00:00:00:00:00)")
	}
	decide(l, arp("1"), 1)
	toward := key(3, host(3), host(1))
	wantOutputs(t, decide(l, toward, 2), 1)
	g := l.Generation()
	decide(l, arp("2"), 2)
	if l.Generation() == g {
		t.Error("the generation did not grow, so flows to the old port would stay")
	}
	wantOutputs(t, decide(l, toward, 2), 2)
	if v, ok := redecide(l, toward); !ok {
		t.Errorf("the flow is not kept: %s", v.Reason)
	} else {
		wantOutputs(t, v, 2)
	}
}
