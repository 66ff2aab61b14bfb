package forward

import (
	"math/rand/v2"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

// metersOf returns the meters in actions, which must precede all outputs.
func metersOf(t *testing.T, v *policy.Verdict) (ids []uint32, outputs int) {
	t.Helper()
	it := netlink.NewAttrs(v.Actions.Bytes())
	for it.Next() {
		switch it.Type() {
		case odp.ActionAttrMeter:
			if outputs > 0 {
				t.Error("a meter after an output")
			}
			ids = append(ids, it.Uint32())
		case odp.ActionAttrOutput:
			outputs++
		}
	}
	return ids, outputs
}

func TestStormControl(t *testing.T) {
	cfg := PortConfigs{
		"p2": {Storm: StormConfig{Broadcast: 10, UnknownUnicast: 30}},
		"p1": {Storm: StormConfig{Broadcast: 100, Multicast: 200, UnknownUnicast: 300}},
	}
	l := learningWith(t, Config{Ports: cfg}, 1, 2, 3)
	want := []policy.Meter{
		{Meter: dpif.Meter{ID: 1, PacketsPerSecond: 100}, Port: "p1", Kind: policy.StormBroadcast},
		{Meter: dpif.Meter{ID: 2, PacketsPerSecond: 200}, Port: "p1", Kind: policy.StormMulticast},
		{Meter: dpif.Meter{ID: 3, PacketsPerSecond: 300}, Port: "p1", Kind: policy.StormUnknownUnicast},
		{Meter: dpif.Meter{ID: 4, PacketsPerSecond: 10}, Port: "p2", Kind: policy.StormBroadcast},
		{Meter: dpif.Meter{ID: 5, PacketsPerSecond: 30}, Port: "p2", Kind: policy.StormUnknownUnicast}}
	if d := cmp.Diff(want, l.Meters()); d != "" {
		t.Errorf("meters (-want +got):\n%s", d)
	}
	decide(l, key(3, host(3), broadcast), 1)
	group := odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xfd}
	for _, ready := range []bool{false, true} {
		g := l.Generation()
		l.UseMeters(ready)
		if (l.Generation() != g) != ready {
			t.Errorf("meters usable %v: the generation grew: %v", ready, l.Generation() != g)
		}
		for _, tt := range []struct {
			in   odp.PortNo
			dst  odp.MAC
			want []uint32
		}{
			{1, broadcast, []uint32{1}}, {1, group, []uint32{2}}, {1, host(99), []uint32{3}}, {1, host(3), nil},
			{2, broadcast, []uint32{4}}, {2, group, nil}, {2, host(99), []uint32{5}},
			{3, broadcast, nil}, {3, host(99), nil},
		} {
			k := key(tt.in, host(int(tt.in)), tt.dst)
			v := decide(l, k, 2)
			if !ready {
				tt.want = nil
			}
			ids, n := metersOf(t, v)
			if diff := cmp.Diff(tt.want, ids); diff != "" || n == 0 {
				t.Errorf("usable %v: from port %v to %v: %d outputs, meters (-want +got):\n%s", ready, tt.in, tt.dst, n, diff)
			}
			if again, ok := redecide(l, masked(t, k, v)); !ok || string(again.Actions.Bytes()) != string(v.Actions.Bytes()) ||
				string(again.Mask.Bytes()) != string(v.Mask.Bytes()) {
				t.Errorf("from port %v to %v: re-decided %v otherwise", tt.in, tt.dst, ok)
			}
		}
	}
	if _, n := metersOf(t, decide(l, key(9, host(9), broadcast), 1)); n != 0 {
		t.Error("a port with unknown settings floods")
	}
}

// TestStormMasks: a flow of broadcasts does not match other multicasts if their limits differ.
func TestStormMasks(t *testing.T) {
	for _, bpdu := range []bool{false, true} {
		l := learningWith(t, Config{ForwardBPDU: bpdu, Ports: PortConfigs{"p1": {Storm: StormConfig{Broadcast: 5}}}}, 1, 2)
		l.UseMeters(true)
		random := rand.New(rand.NewPCG(5, 6))
		var keys []odp.MAC
		var flows []odp.MAC
		var actions []string
		for range 300 {
			dst := broadcast
			for range random.IntN(3) {
				dst[random.IntN(6)] ^= 1 << random.IntN(8)
			}
			if random.IntN(3) == 0 {
				dst = reserved[random.IntN(len(reserved))].addr
			}
			dst[0] |= 1
			v := decide(l, key(1, host(1), dst), 1)
			_, m := maskOf(t, v)
			keys, flows, actions = append(keys, dst), append(flows, m), append(actions, string(v.Actions.Bytes()))
		}
		for i, m := range flows {
			for j := range keys {
				if keys[i].Uint64()&m.Uint64() == keys[j].Uint64()&m.Uint64() && (actions[i] != actions[j] || flows[j] != m) {
					t.Fatalf("the flow of %v/%v covers %v, which is forwarded differently", keys[i], m, keys[j])
				}
			}
		}
	}
}
