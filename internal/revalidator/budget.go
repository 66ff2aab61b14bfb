package revalidator

import "sync/atomic"

// Budget keeps the number of flows of all installers below the limit. Its methods may be called
// by any goroutine.
type Budget struct {
	limit    atomic.Int64
	count    atomic.Int64 // flows in the kernel and in flight
	inFlight atomic.Int64 // flows in flight
	refused  atomic.Bool  // a reservation failed since the last check
	spoofed  atomic.Bool  // a flow whose UFID is Spoofed was put since the last check
}

// NewBudget returns a budget of limit flows. A Revalidator changes the limit.
func NewBudget(limit int) *Budget {
	b := &Budget{}
	b.limit.Store(int64(limit))
	return b
}

// Limit returns the limit in force.
func (b *Budget) Limit() int64 { return b.limit.Load() }

// Count returns the number of flows, including those in flight.
func (b *Budget) Count() int64 { return b.count.Load() }

// InFlight returns the number of flows that are reserved but not yet in the kernel.
func (b *Budget) InFlight() int64 { return b.inFlight.Load() }

// Ample reports whether at most half of the places are taken, so that flows may be installed
// before they are needed.
func (b *Budget) Ample() bool { return 2*b.count.Load() <= b.limit.Load() }

// Reserve takes a place for a flow that is about to be installed.
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

// PutSpoofed records that a flow whose UFID is Spoofed has a place and is about to be sent.
func (b *Budget) PutSpoofed() {
	if !b.spoofed.Load() {
		b.spoofed.Store(true)
	}
}

// Sent records that n reserved flows were sent to the kernel.
func (b *Budget) Sent(n int) { b.inFlight.Add(int64(-n)) }

// Release returns the place of a flow that the kernel refused.
func (b *Budget) Release() { b.count.Add(-1) }

// Recount corrects the count by the kernel's number, which flows returns. Flows that are sent
// meanwhile may be counted twice until the next Recount, but are never left out.
func (b *Budget) Recount(flows func() (int64, error)) error {
	count, inFlight := b.count.Load(), b.inFlight.Load()
	n, err := flows()
	if err == nil {
		b.count.Add(n + inFlight - count)
	}
	return err
}
