package forward

import (
	"slices"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// untagged returns the ports that an untagged frame leaves by untagged.
func untagged(t *testing.T, v *policy.Verdict) (list []odp.PortNo) {
	t.Helper()
	for no, tags := range sent(t, v, nil) {
		if tags == "[]" {
			list = append(list, no)
		}
	}
	slices.Sort(list)
	return list
}

// TestPortPatterns: listed ports without settings use those of the first matching pattern.
func TestPortPatterns(t *testing.T) {
	access := func(vlan uint16) PortConfig { return PortConfig{VLAN: VLANConfig{Access: vlan}} }
	cfg := PortConfigs{"tap9": {}}
	patterns := []PortPattern{{"tap1*", access(10)}, {"tap*", access(20)}}
	list := []policy.Port{{No: 1, Name: "tap1", Listed: true}, {No: 2, Name: "tap2", Listed: true},
		{No: 3, Name: "tap9", Listed: true},
		{No: 4, Name: "tap14"}, {No: 5, Name: "tap15", Listed: true}, {No: 6, Name: "eth1", Listed: true}}
	flood, err := NewFlood(cfg, patterns...)
	if err != nil {
		t.Fatal(err)
	}
	learning, err := NewLearning(Config{Ports: cfg, Patterns: patterns})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []policy.Policy{flood, learning} {
		p.SetPorts(list)
		for in, want := range map[odp.PortNo][]odp.PortNo{1: {5}, 2: nil, 5: {1}, 3: {4, 6}} {
			v := decide(p, key(in, host(int(in)), broadcast), 1)
			if d := cmp.Diff(want, untagged(t, v)); d != "" {
				t.Errorf("%T: port %d reaches untagged (-want +got):\n%s", p, in, d)
			}
		}
	}
	if _, err := NewFlood(nil, PortPattern{"a*", PortConfig{Group: "g"}}); err == nil {
		t.Error("a group without isolation is accepted")
	}
}

// TestPatternWithoutPorts: if no port matches yet, an unknown port carries nothing, and a mirror
// only copies.
func TestPatternWithoutPorts(t *testing.T) {
	f, err := NewFlood(nil, PortPattern{"tap*", PortConfig{MirrorTo: "p3"}})
	if err != nil {
		t.Fatal(err)
	}
	f.SetPorts([]policy.Port{{No: 1, Name: "p1", Listed: true}, {No: 2, Name: "p2", Listed: true},
		{No: 3, Name: "p3", Listed: true}})
	if got := untagged(t, decide(f, key(1, host(1), broadcast), 1)); !cmp.Equal(got, []odp.PortNo{2}) {
		t.Errorf("port 1 reaches %v", got)
	}
	if got := untagged(t, decide(f, key(9, host(1), broadcast), 1)); got != nil {
		t.Errorf("an unknown port reaches %v", got)
	}
}

// TestPatternMeters: ports of a pattern have their own meters, and keep them while others come and
// go.
func TestPatternMeters(t *testing.T) {
	l, err := NewLearning(Config{
		Ports:    PortConfigs{"eth1": {Storm: StormConfig{Multicast: 7}}},
		Patterns: []PortPattern{{"tap*", PortConfig{Storm: StormConfig{Broadcast: 5, UnknownUnicast: 6}}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	meter := func(id, rate uint32, port string, kind policy.StormKind) policy.Meter {
		return policy.Meter{Meter: dpif.Meter{ID: id, PacketsPerSecond: rate}, Port: port, Kind: kind}
	}
	eth1 := meter(1, 7, "eth1", policy.StormMulticast)
	tap := func(name string, id uint32) []policy.Meter {
		return []policy.Meter{meter(id, 5, name, policy.StormBroadcast), meter(id+1, 6, name, policy.StormUnknownUnicast)}
	}
	for _, step := range []struct {
		ports []string
		want  [][]policy.Meter // in addition to that of eth1
	}{
		{nil, nil},
		{[]string{"tap2"}, [][]policy.Meter{tap("tap2", 2)}},
		{[]string{"tap1", "tap2"}, [][]policy.Meter{tap("tap1", 4), tap("tap2", 2)}},
		{[]string{"tap1"}, [][]policy.Meter{tap("tap1", 4)}},
		{[]string{"tap1", "tap3"}, [][]policy.Meter{tap("tap1", 4), tap("tap3", 2)}},
	} {
		var list []policy.Port
		for i, name := range step.ports {
			list = append(list, policy.Port{No: odp.PortNo(i + 1), Name: name, Listed: true})
		}
		l.SetPorts(list)
		want := append([]policy.Meter{eth1}, slices.Concat(step.want...)...)
		if d := cmp.Diff(want, l.Meters()); d != "" {
			t.Errorf("meters with %v (-want +got):\n%s", step.ports, d)
		}
	}
}
