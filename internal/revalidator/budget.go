package revalidator

import "sync/atomic"

// Budget holds the number of flows under the limit over all who install flows. Its
// methods may be called by any goroutine.
type Budget struct {
	limit    atomic.Int64
	count    atomic.Int64 // flows in the kernel, and those on their way there
	inFlight atomic.Int64 // the latter
	refused  atomic.Bool  // since it was last looked at, a flow found no place
}

// NewBudget returns a budget of limit flows. A Revalidator changes the limit.
func NewBudget(limit int) *Budget {
	b := &Budget{}
	b.limit.Store(int64(limit))
	return b
}

// Limit returns the limit in force.
func (b *Budget) Limit() int64 { return b.limit.Load() }

// Count returns how many flows there are, those on their way to the kernel included.
func (b *Budget) Count() int64 { return b.count.Load() }

// InFlight returns how many flows are on their way to the kernel.
func (b *Budget) InFlight() int64 { return b.inFlight.Load() }

// Ample reports whether at most half of the places are taken: then flows may be put that
// are not needed yet.
func (b *Budget) Ample() bool { return 2*b.count.Load() <= b.limit.Load() }

// Reserve takes a place for a flow that is about to be put.
func (b *Budget) Reserve() bool {
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

// Sent says that n reserved flows were sent to the kernel.
func (b *Budget) Sent(n int) { b.inFlight.Add(int64(-n)) }

// Release gives up the place of a flow that the kernel did not take.
func (b *Budget) Release() { b.count.Add(-1) }

// Recount corrects the count by the kernel's, which flows asks for. Flows that
// are sent meanwhile may be counted twice until the next time, never not at all.
func (b *Budget) Recount(flows func() (int64, error)) error {
	count, inFlight := b.count.Load(), b.inFlight.Load()
	n, err := flows()
	if err == nil {
		b.count.Add(n + inFlight - count)
	}
	return err
}
