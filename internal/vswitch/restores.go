package vswitch

import (
	"time"

	"dpifd/internal/odp"

	"golang.org/x/time/rate"
)

// Limits of what is restored that another program changes. A program that changes it back each
// time, for ever, must cost little. One that changes it now and then, or in a loop of a script
// (ovs-dpctl does), must not cost the upcalls of a second.
const (
	restoreEvery = time.Second
	restoreBurst = 100
	// Events of one port.
	sayEvery = 10 * time.Second
	sayBurst = 5
)

// restores paces what is restored. It belongs to the port poll.
type restores struct {
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

func newRestores() restores {
	return restores{limiter: rate.NewLimiter(rate.Every(restoreEvery), restoreBurst), said: map[odp.PortNo]*saying{}}
}

// begin begins a look.
func (r *restores) begin() { r.asked, r.granted = false, false }

// allow reports whether this look may restore what it finds changed.
func (r *restores) allow() bool {
	if !r.asked {
		r.asked, r.granted = true, r.limiter.Allow()
	}
	return r.granted
}

// postponed reports whether the look left something changed.
func (r *restores) postponed() bool { return r.asked && !r.granted }

// say reports whether an event of a port is due at the time now, and how many were held
// back before.
func (r *restores) say(no odp.PortNo, now time.Time) (held uint64, due bool) {
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
