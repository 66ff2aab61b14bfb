package vswitch

import "sync/atomic"

// flowBudget holds the number of flows under the limit over all handlers.
type flowBudget struct {
	limit    atomic.Int64
	count    atomic.Int64 // flows in the kernel, and those on their way there
	inFlight atomic.Int64 // the latter
	refused  atomic.Bool  // since it was last looked at, a flow found no place
}

// reserve takes a place for a flow that is about to be put.
func (b *flowBudget) reserve() bool {
	if b.count.Add(1) > b.limit.Load() {
		b.count.Add(-1)
		if !b.refused.Load() {
			b.refused.Store(true)
		}
		return false
	}
	b.inFlight.Add(1)
	return true
}

// landed says that n reserved flows were sent to the kernel.
func (b *flowBudget) landed(n int) { b.inFlight.Add(int64(-n)) }

// release gives up the place of a flow that the kernel did not take.
func (b *flowBudget) release() { b.count.Add(-1) }

// settle corrects the count by the kernel's, which flows asks for. Flows that
// land meanwhile may be counted twice until the next time, never not at all.
func (b *flowBudget) settle(flows func() (int64, error)) error {
	count, inFlight := b.count.Load(), b.inFlight.Load()
	n, err := flows()
	if err == nil {
		b.count.Add(n + inFlight - count)
	}
	return err
}
