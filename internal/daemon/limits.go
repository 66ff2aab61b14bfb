package daemon

import (
	"slices"

	"dpifd/internal/vswitch"
)

// evictions logs macs_evicted for each port that lost MACs.
func (s *statsLog) evictions(st *vswitch.Stats) {
	macs := s.daemon.policy.Stats()
	for no, n := range macs.PortEvicted {
		before := s.evicted[no]
		if n < before {
			before = 0 // a new table: the policy was replaced, or the port
		}
		if n == before {
			continue
		}
		name := ""
		if i := slices.IndexFunc(st.Ports, func(p vswitch.PortStats) bool { return p.No == no }); i >= 0 {
			name = st.Ports[i].Name
		}
		s.daemon.log.emit(evMACsEvicted{Port: name, No: no, Evicted: n - before, EvictedTotal: n, MACs: macs.Entries,
			Limit: s.daemon.cfg().Policy.MACLimit})
	}
	s.evicted = macs.PortEvicted
}

// requestOverflows logs request_overflow for each request socket that has lost answers.
func (s *statsLog) requestOverflows(st *vswitch.Stats) {
	for _, r := range st.RequestSockets {
		before := s.overflows[r.Owner]
		if n := r.Counters.Overflows; n > before {
			s.overflows[r.Owner] = n
			s.daemon.log.emit(evRequestOverflow{Owner: r.Owner, Overflows: n - before, OverflowsTotal: n})
		}
	}
}

// droppedLines logs log_dropped when the log's reader continues.
func (s *statsLog) droppedLines() {
	n := s.daemon.lines.Dropped()
	if n == s.logDropped || s.daemon.lines.Stalled() {
		return
	}
	s.daemon.log.emit(evLogDropped{Lines: n - s.logDropped, LinesTotal: n})
	s.logDropped = n
}
