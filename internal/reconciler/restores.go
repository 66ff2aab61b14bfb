package reconciler

import (
	"sync/atomic"
	"time"

	"dpifd/internal/odp"

	"golang.org/x/time/rate"
)

// Limits on restoring values that another program changes. A program that changes a value back
// every time, forever, must cost little. A program that changes it now and then, or in a
// script's loop (as with ovs-dpctl), must not cause the loss of a second's upcalls.
const (
	RestoreInterval = time.Second
	restoreBurst    = 100
	// Events of one port.
	eventInterval = 10 * time.Second
	eventBurst    = 5
)

// Restores limits the rate of restores, and counts them. It belongs to one goroutine, except
// its counters.
type Restores struct {
	pids    atomic.Uint64 // changes of a vport's upcall PIDs
	limiter *rate.Limiter
	asked   bool // in this look
	granted bool
	// events limits the events about each port. odp.MaxPorts stands for the datapath.
	events map[odp.PortNo]*eventLimit
}

type eventLimit struct {
	limiter *rate.Limiter
	held    uint64 // back since the last event
}

// NewRestores returns a Restores with counters at zero.
func NewRestores() *Restores {
	return &Restores{
		limiter: rate.NewLimiter(rate.Every(RestoreInterval), restoreBurst),
		events:  map[odp.PortNo]*eventLimit{},
	}
}

// Begin begins a look.
func (r *Restores) Begin() { r.asked, r.granted = false, false }

// Allow reports whether this look may restore changed values.
func (r *Restores) Allow() bool {
	if !r.asked {
		r.asked, r.granted = true, r.limiter.Allow()
	}
	return r.granted
}

// Postponed reports whether the look left a changed value as it is.
func (r *Restores) Postponed() bool { return r.asked && !r.granted }

// EventDue reports whether an event about a port is due at the time now, and how many were held back
// before.
func (r *Restores) EventDue(no odp.PortNo, now time.Time) (held uint64, due bool) {
	s := r.events[no]
	if s == nil {
		s = &eventLimit{limiter: rate.NewLimiter(rate.Every(eventInterval), eventBurst)}
		r.events[no] = s
	}
	if !s.limiter.AllowN(now, 1) {
		s.held++
		return 0, false
	}
	held, s.held = s.held, 0
	return held, true
}

// UpcallPIDs is the number of changes of vports' upcall PIDs. Any goroutine may call it.
func (r *Restores) UpcallPIDs() uint64 { return r.pids.Load() }
