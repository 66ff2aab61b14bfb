package dpif

import (
	"errors"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// Reconfigure changes, while the Server runs, which ports the datapath is to
// have and what bounds its flows; zero values of the latter select the
// defaults. Ports that were configured and are not any more are taken off the
// datapath. It returns at once; what comes of it is told by events. It may be
// called from any goroutine.
func (s *Server) Reconfigure(ports []PortConfig, maxIdle time.Duration, flowLimit int) {
	if maxIdle <= 0 {
		maxIdle = DefaultMaxIdle
	}
	if flowLimit <= 0 {
		flowLimit = DefaultFlowLimit
	}
	s.revalidator.limits.Store(&flowLimits{maxIdle, flowLimit})
	s.wanted.Store(&ports)
	s.suspectGone()
	s.revalidator.hurry()
}

// takeWanted puts the ports of the last Reconfigure into force, and takes those
// that are not configured any more off the datapath.
func (s *Server) takeWanted() error {
	ports := s.wanted.Swap(nil)
	if ports == nil {
		return nil
	}
	removed := slices.DeleteFunc(slices.Clone(s.cfg.Ports), func(p PortConfig) bool { return slices.Contains(*ports, p) })
	s.cfg.Ports = slices.Clone(*ports)
	if len(removed) == 0 {
		return nil
	}
	vports, err := s.dp.Vports()
	if err != nil {
		return err
	}
	for _, p := range removed {
		delete(s.waiting, p.Name)
		i := slices.IndexFunc(vports, func(v Vport) bool { return v.Name == p.Name && v.Type == p.Type })
		if i < 0 {
			continue
		}
		if err := s.dp.DeleteVport(vports[i].No); err != nil && !errors.Is(err, unix.ENODEV) {
			s.cfg.Notify(PortFailed{No: vports[i].No, Name: p.Name, Err: err})
		}
	}
	return nil
}
