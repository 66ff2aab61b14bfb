package odp

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"dpifd/internal/netlink"
)

// run executes actions as the kernel does, and returns each output with the packet's changes before
// it.
func run(t *testing.T, actions []byte) (outputs []string) {
	t.Helper()
	var done, tunnel []byte
	for rest := actions; len(rest) > 0; {
		typ, data, next := netlink.CutAttr(rest)
		action := rest[:len(rest)-len(next)]
		rest = next
		switch typ {
		case ActionAttrOutput:
			outputs = append(outputs, string(done)+"|"+string(tunnel)+"|"+string(data))
		case ActionAttrSet:
			tunnel = action
		case netlink.NoAttr:
			t.Fatalf("malformed actions %x", actions)
		default:
			done = append(done, action...)
		}
	}
	return outputs
}

// TestSplitActions: random actions have the same effect after they are split into short lists.
func TestSplitActions(t *testing.T) {
	const limit = 120
	random := rand.New(rand.NewPCG(5, 6))
	parts := 0
	for range 2000 {
		var e netlink.Encoder
		if random.IntN(2) == 0 {
			AppendMeter(&e, 7)
		}
		vlan, changes := false, 0
		for range random.IntN(60) {
			switch random.IntN(12) {
			case 0:
				if changes++; changes > 4 {
					break
				}
				if vlan {
					AppendPopVLAN(&e)
				} else {
					AppendPushVLAN(&e, 0x8100, 0x1005)
				}
				vlan = !vlan
			case 1, 2, 3:
				AppendSetTunnel(&e, &SetTunnel{ID: random.Uint64(), HasID: true,
					Dst: netip.AddrFrom4([4]byte{192, 0, 2, 1}), TTL: 64})
			}
			AppendOutput(&e, PortNo(random.IntN(1000)))
		}
		var got []string
		if !SplitActions(e.Bytes(), limit, func(part []byte) bool {
			parts++
			if len(part) > limit {
				t.Fatalf("a part of %d bytes", len(part))
			}
			got = append(got, run(t, part)...)
			return true
		}) {
			t.Fatalf("not split: %s", Text{}.AppendActions(nil, e.Bytes()))
		}
		if want := run(t, e.Bytes()); !slices.Equal(got, want) {
			t.Fatalf("%s: outputs differ:\n%q\n%q", Text{}.AppendActions(nil, e.Bytes()), got, want)
		}
	}
	if parts < 5000 {
		t.Errorf("only %d parts", parts)
	}
	var e netlink.Encoder
	for range 20 {
		AppendOutput(&e, 1)
	}
	never := func([]byte) bool { t.Error("called"); return true }
	if SplitActions(append(slices.Clone(e.Bytes()), 8, 0, ActionAttrRecirc, 0, 1, 0, 0, 0), limit, never) {
		t.Error("a recirculation is split")
	}
	calls := 0
	if SplitActions(e.Bytes(), 64, func([]byte) bool { calls++; return false }) || calls != 1 {
		t.Errorf("continued %d times after each returned false", calls)
	}
}
