package vswitch

import (
	"dpifd/internal/revalidator"
	"slices"
)

// Reconfigure changes, while the Server runs, which ports the datapath is to
// have and what bounds its flows; zero values of the latter select the
// defaults. Ports that were configured and are not any more are taken off the
// datapath. It returns at once; what comes of it is told by events. It may be
// called from any goroutine.
func (s *Server) Reconfigure(ports []PortConfig, flows revalidator.Limits) {
	s.revalidator.SetLimits(flows)
	s.wanted.Store(&ports)
	s.suspectGone()
}

// takeWanted puts the ports of the last Reconfigure into force, and takes those
// that are not configured any more off the datapath.
func (s *Server) takeWanted() error {
	ports := s.wanted.Swap(nil)
	if ports == nil {
		return nil
	}
	was := s.cfg.Ports
	s.configure(*ports)
	vports, err := s.vports()
	if err != nil {
		return err
	}
	s.matchPatterns(vports)
	stay := make(map[PortConfig]bool, len(s.cfg.Ports))
	for _, p := range s.cfg.Ports {
		stay[p.vport()] = true
	}
	removed := slices.DeleteFunc(slices.Clone(was), func(p PortConfig) bool { return stay[p.vport()] })
	// Devices may be set up in another way now.
	clear(s.setUp)
	s.stale = true
	if len(removed) == 0 {
		return nil
	}
	var names []string
	for _, p := range removed {
		s.forgetWaiting(p.Name)
		names = append(names, p.Name)
	}
	return s.retire(names, vports)
}

// limitUpcalls gives the ports served the limits that are configured now.
func (s *Server) limitUpcalls() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ch := range s.channels {
		ch.SetMaxUpcalls(s.maxUpcalls[s.bound.Entry(ch.No)])
	}
}

// maxUpcalls returns the limits of ports by name, of those that have one.
func maxUpcalls(ports []PortConfig) map[string]uint32 {
	limits := map[string]uint32{}
	for _, p := range ports {
		if p.MaxUpcalls != 0 {
			limits[p.Name] = p.MaxUpcalls
		}
	}
	return limits
}
