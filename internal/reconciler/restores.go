package reconciler

import (
	"sync/atomic"
	"time"

	"dpifd/internal/odp"

	"golang.org/x/time/rate"
)

// Limits of what is restored that another program changes. A program that changes it back each
// time, for ever, must cost little. One that changes it now and then, or in a loop of a script
// (ovs-dpctl does), must not cost the upcalls of a second.
const (
	RestoreInterval = time.Second
	restoreBurst    = 100
	// Events of one port.
	sayEvery = 10 * time.Second
	sayBurst = 5
)

// Restores paces what is restored, and counts it. It belongs to one goroutine, but its
// counters.
type Restores struct {
	pids    atomic.Uint64 // changes of a vport's upcall PIDs
	limiter *rate.Limiter
	asked   bool // in this look
	granted bool
	// said limits the events of each port. odp.MaxPorts stands for the datapath.
	said map[odp.PortNo]*saying
}

type saying struct {
	limiter *rate.Limiter
	held    uint64 // back since the last event
}

// NewRestores returns a Restores that has counted nothing.
func NewRestores() *Restores {
	return &Restores{limiter: rate.NewLimiter(rate.Every(RestoreInterval), restoreBurst), said: map[odp.PortNo]*saying{}}
}

// Begin begins a look.
func (r *Restores) Begin() { r.asked, r.granted = false, false }

// Allow reports whether this look may restore what it finds changed.
func (r *Restores) Allow() bool {
	if !r.asked {
		r.asked, r.granted = true, r.limiter.Allow()
	}
	return r.granted
}

// Postponed reports whether the look left something changed.
func (r *Restores) Postponed() bool { return r.asked && !r.granted }

// Say reports whether an event of a port is due at the time now, and how many were held
// back before.
func (r *Restores) Say(no odp.PortNo, now time.Time) (held uint64, due bool) {
	s := r.said[no]
	if s == nil {
		s = &saying{limiter: rate.NewLimiter(rate.Every(sayEvery), sayBurst)}
		r.said[no] = s
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
