package dpif

import (
	"maps"
	"slices"

	"dpifd/internal/odp"
)

// vacate keeps the numbers of ports that have gone from being given to new ones
// for as long as flows may lead to them, or from them: such flows would deliver
// to the wrong device, and have its number learned for the former's stations.
// The policy does not know the ports any more.
func (s *Server) vacate(gone []odp.PortNo) {
	// What handlers have decided before that is in the kernel now.
	for _, h := range s.handlers {
		h.do(func() {})
	}
	// So the next cycle to begin finds all of it. One may be under way.
	s.revalidator.lookAtAll()
	until := s.revalidator.counters.looks.Load() + 2
	for _, no := range gone {
		s.vacated[no] = until
	}
}

// freeNumber returns the number for a port to be attached: the lowest that no
// vport has, no flow can lead to, and no channel is served under. The kernel
// would take up that of a vport which went after they were listed. 0, when there
// is none, leaves it to the kernel to say so.
func (s *Server) freeNumber(vports, added []Vport) odp.PortNo {
	looks := s.revalidator.counters.looks.Load()
	maps.DeleteFunc(s.vacated, func(_ odp.PortNo, until uint64) bool { return looks >= until })
	has := make(map[odp.PortNo]bool, len(vports)+len(added))
	for _, v := range slices.Concat(vports, added) {
		has[v.No] = true
	}
	for no := odp.PortNo(1); no < odp.MaxPorts; no++ {
		if _, stale := s.vacated[no]; !stale && !has[no] && !s.serves(no) {
			return no
		}
	}
	return 0
}

// lacksConfigured reports whether a configured port is not among the vports.
func (s *Server) lacksConfigured(vports []Vport) bool {
	return slices.ContainsFunc(s.cfg.Ports, func(p PortConfig) bool {
		return !slices.ContainsFunc(vports, func(v Vport) bool { return v.Name == p.Name })
	})
}
