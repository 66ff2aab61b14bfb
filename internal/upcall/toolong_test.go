package upcall

import (
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// wide is a policy that outputs the packets of port 1 to many ports, and others to one.
type wide struct {
	notes
	ports int
}

func (p *wide) Decide(u *dpif.Upcall, _ int64, v *policy.Verdict) {
	in := u.InPort
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

// TestActionsTooLong: a packet to more ports than one request can hold is sent by several; a flow
// that does not fit is left out, without an effect on others.
func TestActionsTooLong(t *testing.T) {
	const all = 64 << 10 / odp.OutputLen // more outputs than an attribute can hold
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
		if one.port.executed.Load() != 1 || two.port.executed.Load() != 1 || b.h.sendErrors.Load() != 0 ||
			one.port.policyErrors.Load() != 0 {
			t.Errorf("%d ports: executed %d and %d, %d batches not sent", tt.ports, one.port.executed.Load(),
				two.port.executed.Load(), b.h.sendErrors.Load())
		}
		if got := int(one.port.flowsRefused.Load()); got != tt.refused || two.port.flowsRefused.Load() != 0 {
			t.Errorf("%d ports: %d flows refused, want %d; of the other port %d", tt.ports, got, tt.refused,
				two.port.flowsRefused.Load())
		}
		if got := int(b.h.budget.(*places).taken); got != 2-tt.refused || b.h.budget.(*places).inFlight != 0 {
			t.Errorf("%d ports: %d reserved, %d in flight", tt.ports, got, b.h.budget.(*places).inFlight)
		}
		b.h.begin()
		var u dpif.Upcall
		if err := b.h.dp.ParseUpcall(b.upcall(1, 9, 300), &u); err != nil {
			t.Fatal(err)
		}
		var v policy.Verdict
		b.h.policy.Decide(&u, 1, &v)
		if !b.h.execute(one.port, &u, v.Actions.Bytes()) || b.h.out.Len() != tt.executes {
			t.Errorf("%d ports: %d requests, want %d", tt.ports, b.h.out.Len(), tt.executes)
		}
	}
}
