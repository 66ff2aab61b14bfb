package forward

import (
	"bytes"
	"testing"
	"time"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"github.com/google/go-cmp/cmp"
)

func newStaged(t *testing.T, cfg Config, ports ...odp.PortNo) *Learning {
	t.Helper()
	l, err := NewLearning(cfg)
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts(portList(ports...))
	return l
}

// stagedKey is the key of an untagged packet.
func stagedKey(recirc uint32, in odp.PortNo, src, dst odp.MAC) []byte {
	var e netlink.Encoder
	odp.AppendRecircID(&e, recirc)
	odp.AppendInPort(&e, in)
	odp.AppendEthernet(&e, src, dst)
	odp.AppendEthertype(&e, typeIPv4)
	return bytes.Clone(e.Bytes())
}

func maskText(e *netlink.Encoder) string {
	return string(odp.Text{}.AppendKey(nil, stagedKey(0, 1, host(1), host(2)), e.Bytes()))
}

// TestStages decides on a packet in two stages, and on both flows as the kernel dumps them.
func TestStages(t *testing.T) {
	t.Parallel()
	l := newStaged(t, Config{Stages: StagesTwo}, 1, 2, 3)
	decide(l, stagedKey(0, 2, host(2), broadcast), 1)
	v := decide(l, stagedKey(0, 1, host(1), host(2)), 2)
	if v.Stage != policy.FirstStage || !v.Install || v.HasPeer || !cmp.Equal(outputs(t, v), []odp.PortNo{2}) {
		t.Errorf("%s, stage %d, install %v, peer %v: want both stages to port 2", verdictText(v), v.Stage, v.Install,
			v.HasPeer)
	}
	const masks = "recirc_id(0),in_port(1),eth(src=02:00:5e:01:00:01), then recirc_id(0),in_port(1)," +
		"eth(dst=02:00:5e:02:00:02)"
	if got := maskText(&v.SourceMask) + ", then " + maskText(&v.Mask); got != masks {
		t.Errorf("masks %s, want %s", got, masks)
	}

	first, ok := redecide(l, stagedKey(0, 1, host(1), odp.MAC{}))
	var want netlink.Encoder
	odp.AppendRecirc(&want, policy.RecircID)
	if !ok || !bytes.Equal(first.Actions.Bytes(), want.Bytes()) || !bytes.Equal(first.Mask.Bytes(), v.SourceMask.Bytes()) {
		t.Errorf("first stage kept %v as %s", ok, verdictText(first))
	}
	second, ok := redecide(l, stagedKey(policy.RecircID, 1, odp.MAC{}, host(2)))
	if !ok || !bytes.Equal(second.Actions.Bytes(), v.Actions.Bytes()) ||
		!bytes.Equal(second.Mask.Bytes(), v.Mask.Bytes()) {
		t.Errorf("second stage kept %v as %s", ok, verdictText(second))
	}
	for name, key := range map[string][]byte{
		"an unknown source":                stagedKey(0, 1, host(9), odp.MAC{}),
		"a source behind another port":     stagedKey(0, 3, host(1), odp.MAC{}),
		"the second stage from no in-port": stagedKey(policy.RecircID, 7, odp.MAC{}, host(2)),
	} {
		if v, ok := redecide(l, key); ok {
			t.Errorf("%s: kept as %s", name, verdictText(v))
		}
	}
}

// TestStagesLearn: the source is learned in the first stage only, from packets and from flows.
func TestStagesLearn(t *testing.T) {
	t.Parallel()
	l := newStaged(t, Config{Stages: StagesTwo}, 1, 2)
	decide(l, stagedKey(policy.RecircID, 1, host(1), host(2)), 5)
	l.Observe(stagedKey(policy.RecircID, 1, odp.MAC{}, host(2)), 6)
	if s := l.Stats(); s.Entries != 0 {
		t.Errorf("%d MACs learned after the first stage", s.Entries)
	}
	l.Observe(stagedKey(0, 1, host(1), odp.MAC{}), 7)
	if diff := cmp.Diff([]MACEntry{{MAC: host(1), Port: 1, SeenMS: 7}}, l.Snapshot()); diff != "" {
		t.Errorf("MACs -want +got:\n%s", diff)
	}
}

// TestStagesWithoutRecirculation: keys of a kernel without recirculation are decided in one stage.
func TestStagesWithoutRecirculation(t *testing.T) {
	t.Parallel()
	l := newStaged(t, Config{Stages: StagesTwo}, 1, 2)
	var key netlink.Encoder
	odp.AppendInPort(&key, 1)
	odp.AppendEthernet(&key, host(1), host(2))
	if v := decide(l, key.Bytes(), 1); v.Stage != policy.OneStage || v.SourceMask.Len() != 0 || !v.Install {
		t.Errorf("stage %d, mask %x", v.Stage, v.Mask.Bytes())
	}
}

// TestRenew: when a MAC that was sent to moves, flows from it elsewhere and flows to it are listed,
// for each port in the form in which frames of the VLAN arrive there.
func TestRenew(t *testing.T) {
	t.Parallel()
	ports := PortConfigs{"p1": {VLAN: VLANConfig{Access: 5}}, "p2": {VLAN: VLANConfig{Access: 5}},
		"p3": {VLAN: VLANConfig{Trunk: []VLANRange{{5, 6}}}}, "p4": {VLAN: VLANConfig{Access: 7}}}
	l := newStaged(t, Config{Stages: StagesTwo, Ports: ports}, 1, 2, 3, 4)
	if v := decide(l, stagedKey(0, 1, host(1), broadcast), 1); v.Renew {
		t.Error("flows of a MAC that nobody sent to are renewed")
	}
	decide(l, stagedKey(0, 2, host(2), host(1)), 2)
	moved := stagedKey(0, 2, host(1), broadcast)
	if v := decide(l, moved, 3); !v.Renew {
		t.Error("flows of a MAC that has moved are not renewed")
	}
	var got []string
	var key netlink.Encoder
	v := &policy.Verdict{}
	for i := 0; l.Renewal(moved, i, &key, v); i++ {
		if v.Install {
			flow := string(odp.Text{}.AppendKey(nil, key.Bytes(), nil))
			again, ok := redecide(l, key.Bytes())
			if second := v.Stage == policy.SecondStage; ok != second ||
				second && !bytes.Equal(again.Mask.Bytes(), v.Mask.Bytes()) {
				t.Errorf("%s: stage %d, re-decided %v as %s", flow, v.Stage, ok, verdictText(again))
			}
			if v.Stage == policy.SecondStage {
				flow += " " + string(odp.Text{}.AppendActions(nil, v.Actions.Bytes()))
			}
			got = append(got, flow)
		}
		key.Clear()
		v.Clear()
	}
	const mac, nobody = "02:00:5e:01:00:01", "00:00:00:00:00:00"
	want := []string{
		"recirc_id(0x64706966),in_port(1),eth(src=" + nobody + ",dst=" + mac + ") 2",
		"recirc_id(0),in_port(1),eth(src=" + mac + ",dst=" + nobody + ")",
		"recirc_id(0x64706966),in_port(2),eth(src=" + nobody + ",dst=" + mac + ") drop",
		"recirc_id(0x64706966),in_port(3),eth(src=" + nobody + ",dst=" + mac + "),eth_type(0x8100),vlan(vid=5,pcp=0),encap() pop_vlan,2",
		"recirc_id(0),in_port(3),eth(src=" + mac + ",dst=" + nobody + "),eth_type(0x8100),vlan(vid=5,pcp=0),encap()",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("flows -want +got:\n%s", diff)
	}
}

// TestBalanceStages: a VLAN with many stations changes to two stages when flows approach the limit,
// and back when its stations have aged out.
func TestBalanceStages(t *testing.T) {
	t.Parallel()
	l := newStaged(t, Config{Stages: StagesAuto, MACAging: agingMS * time.Millisecond}, 1, 2, 3)
	const limit = 10_000
	for n := range 60 {
		decide(l, stagedKey(0, odp.PortNo(1+n%3), host(n), broadcast), int64(n))
	}
	check := func(what string, flows int, want ...policy.StageChange) {
		t.Helper()
		generation := l.Generation()
		got := l.BalanceStages(flows, limit, true)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, changes -want +got:\n%s", what, diff)
		}
		if grew := l.Generation() != generation; grew != (len(want) > 0) {
			t.Errorf("%s: generation grew: %v", what, grew)
		}
	}
	stage := func() policy.Stage { return decide(l, stagedKey(0, 1, host(0), host(1)), 100).Stage }
	check("few flows", limit/2-1)
	if got := stage(); got != policy.OneStage {
		t.Errorf("stage %d with few flows", got)
	}
	const twice = 2 * 60 * (1 + 3) // twice the flows of two stages
	if got := l.BalanceStages(twice-1, 2*(twice-1), true); got != nil {
		t.Errorf("%v with so few flows", got)
	}
	check("many flows", limit/2, policy.StageChange{Two: true})
	if got := stage(); got != policy.FirstStage {
		t.Errorf("stage %d with many flows", got)
	}
	check("in two stages", 240)
	if _, ok := redecide(l, stagedKey(policy.RecircID, 1, odp.MAC{}, host(1))); !ok {
		t.Error("the second stage was re-decided otherwise")
	}
	l.Expire(35 + agingMS)
	check("half of the stations", 120)
	l.Expire(58 + agingMS)
	check("few stations", 20, policy.StageChange{})
	if _, ok := redecide(l, stagedKey(policy.RecircID, 1, odp.MAC{}, host(1))); ok {
		t.Error("the second stage is kept in a VLAN with one stage")
	}
	if v := decide(l, stagedKey(policy.RecircID, 1, host(0), host(1)), 100); v.Install {
		t.Error("a packet between stages gets a flow in a VLAN with one stage")
	}
}

// TestStagesFound: flows in two stages that exist at start keep their VLAN in two stages.
func TestStagesFound(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		mode   Stages
		settle bool
		want   policy.Stage
	}{
		{"auto", StagesAuto, false, policy.FirstStage},
		{"auto later", StagesAuto, true, policy.OneStage},
		{"one", StagesOne, false, policy.OneStage},
	} {
		l := newStaged(t, Config{Stages: c.mode}, 1, 2)
		l.BalanceStages(0, 1000, c.settle)
		l.Observe(stagedKey(policy.RecircID, 1, odp.MAC{}, host(2)), 5)
		if v := decide(l, stagedKey(0, 1, host(1), host(2)), 6); v.Stage != c.want {
			t.Errorf("%s: stage %d, want %d", c.name, v.Stage, c.want)
		}
	}
}

// TestStagesUnderStaticFlows: with static flows there is one stage.
func TestStagesUnderStaticFlows(t *testing.T) {
	t.Parallel()
	l := newStaged(t, Config{Stages: StagesTwo}, 1, 2)
	o, err := NewOverlay(l, []StaticFlow{{Match: "in_port(1),eth(),eth_type(0x0806)", Actions: "drop"}})
	if err != nil {
		t.Fatal(err)
	}
	o.SetPorts(portList(1, 2))
	if v := decide(o, stagedKey(0, 1, host(1), host(2)), 1); v.Stage != policy.OneStage || !v.Install {
		t.Errorf("stage %d, install %v", v.Stage, v.Install)
	}
}
