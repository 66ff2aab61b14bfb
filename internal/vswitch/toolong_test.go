package vswitch

import (
	"errors"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// wide is a policy that sends the packets of port 1 out of many ports, and others out of
// one.
type wide struct {
	notes
	ports int
}

func (p *wide) Decide(u *dpif.Upcall, _ int64, v *policy.Verdict) { p.decide(u.InPort, v) }

func (p *wide) decide(in odp.PortNo, v *policy.Verdict) {
	odp.AppendInPortMask(&v.Mask)
	v.Install = true
	n := 1
	if in == 1 {
		n = p.ports
	}
	for i := range n {
		odp.AppendOutput(&v.Actions, odp.PortNo(i+10))
	}
}

func (p *wide) Redecide(key []byte, v *policy.Verdict) bool {
	in, _ := odp.InPort(key)
	p.decide(in, v)
	return true
}

// TestActionsTooLong: a packet that goes out of more ports than one request can name is
// sent in several; a flow that does not fit is left out alone, and costs no other.
func TestActionsTooLong(t *testing.T) {
	const all = 64 << 10 / odp.OutputLen // outputs that no attribute can hold
	for _, tt := range []struct{ ports, executes, refused int }{
		{odp.MaxActions / odp.OutputLen, 1, 0}, {odp.MaxActions/odp.OutputLen + 1, 2, 0}, {all, 3, 1},
	} {
		b := newBench(t, ringtest.New(ringtest.Config{}))
		b.h.policy = &wide{ports: tt.ports}
		one, s1 := b.port(1, ring16)
		two, s2 := b.port(2, ring16)
		b.deliver(s1, 1, 1, 1, 300)
		b.deliver(s2, 2, 2, 1, 300)
		b.step()
		b.step()
		if one.executed.Load() != 1 || two.executed.Load() != 1 || b.h.sendErrors.Load() != 0 || one.policyErrors.Load() != 0 {
			t.Errorf("%d ports: executed %d and %d, %d batches not sent", tt.ports, one.executed.Load(), two.executed.Load(), b.h.sendErrors.Load())
		}
		if got := int(one.flowsRefused.Load()); got != tt.refused || two.flowsRefused.Load() != 0 {
			t.Errorf("%d ports: %d flows refused, want %d; of the other port %d", tt.ports, got, tt.refused, two.flowsRefused.Load())
		}
		if got := int(b.h.budget.count.Load()); got != 2-tt.refused || b.h.budget.inFlight.Load() != 0 {
			t.Errorf("%d ports: %d places taken, %d in flight", tt.ports, got, b.h.budget.inFlight.Load())
		}
		b.h.begin()
		var u dpif.Upcall
		if err := b.h.dp.ParseUpcall(b.upcall(1, 9, 300), &u); err != nil {
			t.Fatal(err)
		}
		var v policy.Verdict
		b.h.policy.Decide(&u, 1, &v)
		if !b.h.execute(one, &u, v.Actions.Bytes()) || b.h.out.Len() != tt.executes {
			t.Errorf("%d ports: %d requests, want %d", tt.ports, b.h.out.Len(), tt.executes)
		}
	}
}

// TestSweepGoesOn: a flow whose new actions do not fit, or are refused, is deleted and
// told of, and the other flows of the sweep get theirs.
func TestSweepGoesOn(t *testing.T) {
	r := newTestRevalidator(100)
	r.policy = &wide{ports: 9000}
	r.maxIdle = 10 * time.Second
	flow := func(in odp.PortNo) *dpif.Flow {
		var v policy.Verdict
		odp.AppendInPort(&v.Actions, in)
		odp.AppendEthernet(&v.Actions, odp.MAC{}, odp.MAC{})
		odp.AppendInPortMask(&v.Mask)
		return &dpif.Flow{UFID: dpif.UFID{byte(in)}, HasUFID: true, Key: v.Actions.Bytes(), Mask: v.Mask.Bytes(), UsedMS: 1000}
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
		t.Errorf("told %v, %+v", tell, e)
	}
	r.stuck.tooLong(70_000)
	if _, tell := r.stuck.due(now.Add(stuckReport - 1)); tell {
		t.Error("told twice within the interval")
	}
	if e, tell := r.stuck.due(now.Add(stuckReport)); !tell || e.Flows != 1 {
		t.Errorf("told %v, %+v", tell, e)
	}
	if c := r.counters.snapshot(); c.Failed != 1 || c.Deleted != 1 || c.Corrected != 2 {
		t.Errorf("%+v", c)
	}
}

func (p *wide) Observe([]byte, int64) {}
