package vswitch

import (
	"maps"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// vacate keeps the numbers of ports that have gone from being given to new ones
// for as long as flows may lead to them, or from them: such flows would deliver
// to the wrong device, and have its number learned for the former's stations.
// The policy does not know the ports any more.
func (s *Server) vacate(gone []odp.PortNo) {
	s.landed()
	// So the next cycle to begin finds all of it. One may be under way.
	s.revalidator.lookAtAll()
	until := s.revalidator.counters.looks.Load() + 2
	for _, no := range gone {
		s.vacated[no] = until
	}
}

// landed waits until what handlers have decided so far is in the kernel.
func (s *Server) landed() {
	for _, h := range s.handlers {
		h.do(func() {})
	}
}

// freeNumbers gives out numbers for ports to be attached.
type freeNumbers struct {
	taken map[odp.PortNo]bool
	next  odp.PortNo // all below are taken
}

// freeNumbers returns the numbers that no vport has, no flow can lead to, and no
// channel is served under. The kernel would take up that of a vport which went
// after they were listed.
func (s *Server) freeNumbers(vports []dpif.Vport) *freeNumbers {
	looks := s.revalidator.counters.looks.Load()
	maps.DeleteFunc(s.vacated, func(_ odp.PortNo, until uint64) bool { return looks >= until })
	f := &freeNumbers{taken: make(map[odp.PortNo]bool, len(vports)), next: 1}
	for _, v := range vports {
		f.taken[v.No] = true
	}
	for no := range s.vacated {
		f.taken[no] = true
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for no := range s.channels {
		f.taken[no] = true
	}
	return f
}

// take takes the lowest free number. 0, when there is none, leaves it to the
// kernel to say so.
func (f *freeNumbers) take() odp.PortNo {
	for ; f.next < odp.MaxPorts; f.next++ {
		if !f.taken[f.next] {
			f.taken[f.next] = true
			return f.next
		}
	}
	return 0
}

// giveBack frees a number that no port got.
func (f *freeNumbers) giveBack(no odp.PortNo) {
	if no != 0 {
		delete(f.taken, no)
		f.next = min(f.next, no)
	}
}

// lacksConfigured reports whether a configured port is not among the vports.
func (s *Server) lacksConfigured(vports []dpif.Vport) bool {
	has := byName(vports)
	return slices.ContainsFunc(s.cfg.Ports, func(p PortConfig) bool { return has[p.Name] == nil })
}

// byName finds vports by their names.
func byName(vports []dpif.Vport) map[string]*dpif.Vport {
	m := make(map[string]*dpif.Vport, len(vports))
	for i := range vports {
		m[vports[i].Name] = &vports[i]
	}
	return m
}

// byNo finds vports by their numbers.
func byNo(vports []dpif.Vport) map[odp.PortNo]*dpif.Vport {
	m := make(map[odp.PortNo]*dpif.Vport, len(vports))
	for i := range vports {
		m[vports[i].No] = &vports[i]
	}
	return m
}
