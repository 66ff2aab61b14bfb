package vswitch

import (
	"time"

	"dpifd/internal/odp"

	"golang.org/x/time/rate"
)

// Limits of what is restored that another program changes: a program that changes it back
// each time must cost little, and one that changes it now and then no upcalls.
const (
	restoreEvery = time.Second
	restoreBurst = 5
	// sayEvery is the time between two events of one port.
	sayEvery = 10 * time.Second
)

// restores paces what is restored. It belongs to the port poll.
type restores struct {
	limiter *rate.Limiter
	asked   bool // in this look
	granted bool
	// said has when events of a port were sent last, and how many were held back since.
	// odp.MaxPorts stands for the datapath.
	said map[odp.PortNo]*saying
}

type saying struct {
	at   time.Duration // by internal/clock
	held uint64
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
func (r *restores) say(no odp.PortNo, now time.Duration) (held uint64, due bool) {
	s := r.said[no]
	if s == nil {
		s = &saying{at: now - sayEvery}
		r.said[no] = s
	}
	if now-s.at < sayEvery {
		s.held++
		return 0, false
	}
	held, s.held, s.at = s.held, 0, now
	return held, true
}
