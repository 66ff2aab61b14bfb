package upcall

import (
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/mmapring/ringtest"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// slow is a policy that needs time for each packet.
type slow struct {
	notes
	takes time.Duration
	then  func() // called after each decision, if not nil
}

func (p *slow) Decide(u *dpif.Upcall, now int64, v *policy.Verdict) {
	for start := time.Now(); time.Since(start) < p.takes; {
	}
	odp.AppendOutput(&v.Actions, 3)
	if p.then != nil {
		p.then()
	}
}

// TestBatchTime compares the counted time with the minimum that a batch must have taken.
func TestBatchTime(t *testing.T) {
	b := newBench(t, ringtest.New(ringtest.Config{}))
	policy := &slow{takes: 2 * time.Millisecond}
	b.h.policy = policy
	_, s := b.port(1, ring16)
	if b.step(); b.h.batchTime.Load() != 0 || b.h.LongestBatch() != 0 {
		t.Errorf("%d ns counted without an upcall", b.h.batchTime.Load())
	}
	const upcalls = 3
	b.deliver(s, 1, 1, upcalls, 300)
	b.step()
	sum, longest := time.Duration(b.h.batchTime.Load()), b.h.LongestBatch()
	if sum < upcalls*policy.takes || longest > sum || longest < policy.takes {
		t.Errorf("%v counted, longest %v, for %d upcalls of %v", sum, longest, upcalls, policy.takes)
	}
	if again := b.h.LongestBatch(); again != 0 {
		t.Errorf("longest is %v after it was read", again)
	}
	policy.takes = 0
	b.deliver(s, 1, 4, 1, 300)
	b.step()
	if next := time.Duration(b.h.batchTime.Load()); next <= sum || b.h.LongestBatch() > next-sum {
		t.Errorf("%v counted after %v", next, sum)
	}
}
