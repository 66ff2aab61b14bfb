package dpif

import (
	"maps"
	"slices"

	"dpifd/internal/odp"
)

// staleCycles is how many revalidator cycles may end after a port has gone
// until no flow leads to it any more: the one under way, the one that begins
// with the policy's new generation, and the one that finds flows decided before
// and installed after that.
const staleCycles = 3

// vacate keeps the number of a port that has gone from being given to a new
// one for as long as flows may lead to it: they would deliver to the wrong
// device.
func (s *Server) vacate(no odp.PortNo) {
	s.vacated[no] = s.revalidator.counters.rounds.Load() + staleCycles
}

// freeNumber returns the number for a port to be attached: the lowest that no
// vport has, no flow can lead to, and no channel is served under. The kernel
// would take up that of a vport which went after they were listed. 0, when there
// is none, leaves it to the kernel to say so.
func (s *Server) freeNumber(vports, added []Vport) odp.PortNo {
	rounds := s.revalidator.counters.rounds.Load()
	maps.DeleteFunc(s.vacated, func(_ odp.PortNo, until uint64) bool { return rounds >= until })
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
