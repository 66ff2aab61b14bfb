package upcall_test

import (
	"strings"
	"testing"

	"dpifd/internal/forward"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/upcall"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// stagedRound is a round with flows in two stages.
func stagedRound(t *testing.T, flowLimit int) *upcall.Round {
	t.Helper()
	l, err := forward.NewLearning(forward.Config{Stages: forward.StagesTwo})
	if err != nil {
		t.Fatal(err)
	}
	l.SetPorts([]policy.Port{{No: 1, Name: "a"}, {No: 2, Name: "b"}, {No: 7, Name: "c"}})
	r, err := upcall.NewRound(l, flowLimit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Close)
	return r
}

func stagedKey(recirc uint32, in odp.PortNo, src, dst odp.MAC) []byte {
	var e netlink.Encoder
	odp.AppendRecircID(&e, recirc)
	e.Raw(flowKey(in, src, dst)...)
	return e.Bytes()
}

// TestRoundInTwoStages: both flows are put, the second not again soon after, and flows to a station
// that moved are renewed before its packet is sent.
func TestRoundInTwoStages(t *testing.T) {
	everyone := odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	packet := make([]byte, 60)
	r := stagedRound(t, 100)
	for _, c := range []struct {
		name string
		keys [][]byte
		want []string
	}{
		{"both stages", [][]byte{stagedKey(0, 1, host(1), host(2))}, []string{"execute", "put", "put"}},
		{"both again", [][]byte{stagedKey(0, 1, host(1), host(2)), stagedKey(0, 1, host(1), everyone), stagedKey(0, 1, host(3), host(2))},
			[]string{"execute", "put", "execute", "put", "execute", "put"}},
		{"the second stage", [][]byte{stagedKey(policy.RecircID, 7, host(9), host(1))}, []string{"execute", "put"}},
		{"a station that was sent to", [][]byte{stagedKey(0, 2, host(2), host(1))},
			[]string{"renew", "renew", "renew", "renew", "renew", "execute", "put", "put"}},
	} {
		var all [][]byte
		for _, key := range c.keys {
			all = append(all, r.Upcall(key, packet))
		}
		if err := r.Do(all...); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(c.want, r.Requests()); diff != "" {
			t.Errorf("%s: requests -want +got:\n%s", c.name, diff)
		}
	}
	r.Refuse(0, unix.ENOENT)
	r.Refuse(1, unix.EINVAL)
	if got := r.Counters(); !strings.Contains(got, " refused 1 ") || !strings.HasSuffix(got, " flows 8") {
		t.Errorf("%s, want 1 flow refused, 8 flows", got)
	}
}

// TestRoundLimitsRenewals: one batch renews a bounded number of flows.
func TestRoundLimitsRenewals(t *testing.T) {
	packet := make([]byte, 60)
	r := stagedRound(t, 1000)
	var sent, moved [][]byte
	for i := range 40 {
		sent = append(sent, r.Upcall(stagedKey(0, 1, host(100), host(i)), packet))
		moved = append(moved, r.Upcall(stagedKey(0, 2, host(i), host(100)), packet))
	}
	if err := r.Do(sent...); err != nil {
		t.Fatal(err)
	}
	if err := r.Do(moved...); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, what := range r.Requests() {
		if what == "renew" {
			n++
		}
	}
	if n != 64 {
		t.Errorf("%d flows renewed, want 64", n)
	}
}

func TestRoundInTwoStagesAlloc(t *testing.T) {
	packet := make([]byte, 60)
	r := stagedRound(t, 1_000_000)
	var all [][]byte
	for i := range 32 {
		all = append(all, r.Upcall(stagedKey(0, 1, host(i), host(i+1)), packet))
	}
	round := func() {
		if err := r.Do(all...); err != nil {
			t.Fatal(err)
		}
	}
	round()
	if n := testing.AllocsPerRun(20, round); n != 0 {
		t.Errorf("a round allocates %v times", n)
	}
}
