package revalidator

import (
	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// toAll is a policy that outputs packets of port 1 to more ports than a message can hold, and
// others to one.
type toAll struct{ constant }

func (toAll) Observe([]byte, int64) {}

func (toAll) Redecide(key []byte, v *policy.Verdict) bool {
	in, _ := odp.InPort(key)
	odp.AppendInPortMask(&v.Mask)
	v.Install = true
	n := 1
	if in == 1 {
		n = 9000
	}
	for i := range n {
		odp.AppendOutput(&v.Actions, odp.PortNo(i+10))
	}
	return true
}

// TestSweepContinues: a flow whose new actions do not fit, or are rejected, is deleted and reported,
// and the other flows of the sweep are updated.
func TestSweepContinues(t *testing.T) {
	r := newTestRevalidator(100)
	r.policy = toAll{}
	r.maxIdle = 10 * time.Second
	flow := func(in odp.PortNo) *dpif.Flow {
		var v policy.Verdict
		odp.AppendInPort(&v.Actions, in)
		odp.AppendEthernet(&v.Actions, odp.MAC{}, odp.MAC{})
		odp.AppendInPortMask(&v.Mask)
		return &dpif.Flow{UFID: dpif.UFID{byte(in)}, HasUFID: true, Key: v.Actions.Bytes(), Mask: v.Mask.Bytes(),
			UsedMS: 1000}
	}
	for in := odp.PortNo(1); in < 5; in++ {
		r.look(flow(in), 1000, true)
	}
	want := []change{changeDelete, changeModify, changeModify, changeModify}
	if len(r.changes) != len(want) || r.sweep.Len() != len(want) {
		t.Fatalf("%v, %d requests", r.changes, r.sweep.Len())
	}
	for i, kind := range r.changes {
		if kind != want[i] {
			t.Errorf("request %d is %d, want %d", i, kind, want[i])
		}
	}
	r.swept(0, nil, nil)
	r.swept(1, nil, nil)
	r.swept(2, nil, unix.EMSGSIZE)
	r.swept(3, nil, unix.ENOENT)
	if len(r.stuck.list) != 1 || r.stuck.list[0].UFID != (dpif.UFID{3}) {
		t.Errorf("to be deleted: %v", r.stuck.list)
	}
	now := time.Now()
	if e, tell := r.stuck.due(now); !tell || e.Flows != 2 || !errors.Is(e.Err, unix.EMSGSIZE) {
		t.Errorf("reported %v, %+v", tell, e)
	}
	r.stuck.tooLong(70_000)
	if _, tell := r.stuck.due(now.Add(stuckReport - 1)); tell {
		t.Error("reported twice within the interval")
	}
	if e, tell := r.stuck.due(now.Add(stuckReport)); !tell || e.Flows != 1 {
		t.Errorf("reported %v, %+v", tell, e)
	}
	if diff := cmp.Diff(Counters{Failed: 1, Deleted: 1, Corrected: 2}, r.counters.snapshot()); diff != "" {
		t.Errorf("counters (-want +got):\n%s", diff)
	}
}
