package policyswitch

import (
	"context"
	"time"

	"dpifd/internal/clock"
)

// flapsAtOnce and flapPause limit how often mac_flapping is logged.
const (
	flapsAtOnce = 4
	flapPause   = time.Second
)

// flapping signals that a MAC has begun to flap. It is called on the packet path.
func (s *Switch) flapping() {
	select {
	case s.flaps <- struct{}{}:
	default: // a signal is pending, or there is no receiver
	}
}

// ReportFlapping logs flapping MACs until ctx ends.
func (s *Switch) ReportFlapping(ctx context.Context) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-s.flaps:
		}
		select {
		case <-ctx.Done():
			return
		case <-pause.C:
		}
		if s.reportFlapping() > 0 {
			s.flapping() // the rest is reported after the pause
		}
		pause.Reset(flapPause)
	}
}

// reportFlapping logs some flapping MACs, and returns the number of others.
func (s *Switch) reportFlapping() (others int) {
	t := s.current.Load().table
	if t == nil {
		return 0
	}
	list, others := t.TakeFlapping(clock.NowMS(), flapsAtOnce)
	for i, f := range list {
		e := MACFlapping{MAC: f.MAC, VLAN: int(f.VLAN), Moves: f.Moves, Over: time.Duration(f.OverMS) * time.Millisecond}
		for _, no := range f.Ports {
			e.Between = append(e.Between, s.PortName(no))
		}
		if i == len(list)-1 {
			e.HeldBack = others
		}
		s.notify(e)
	}
	return others
}
