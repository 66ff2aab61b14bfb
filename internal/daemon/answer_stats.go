package daemon

import (
	"maps"
	"slices"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/policy"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"
)

var _ = answer(endpoint.GetStats, (*run).allStats)

func (d *run) allStats(control.None, control.Peer) (*endpoint.Stats, error) {
	d.mu.Lock() // the server stays open meanwhile
	defer d.mu.Unlock()
	if d.server == nil || d.stats == nil || d.stats.server != d.server {
		return nil, control.ErrNotReady
	}
	return d.stats.snapshot()
}

// snapshot reads all counters once, and changes nothing that the log depends
// on.
func (s *statsLog) snapshot() (*endpoint.Stats, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.server.Stats()
	if err != nil {
		return nil, err
	}
	s.total = st.Total()
	s.total.Add(s.daemon.past)
	r, upcalls := s.read(&st), s.server.UpcallTimes()
	r.Upcalls = upcalls.Since(&s.upcalls[1])
	out := &endpoint.Stats{Datapath: s.daemon.cfg().Datapath.Name, Totals: totals.Table.Lasting().Read(r),
		UpcallTimes: endpoint.Histogram{Count: upcalls.Count(), SumUS: upcalls.Sum.Microseconds(),
			Buckets: upcalls.Buckets()},
		Ports: []endpoint.PortStats{}, Losses: []endpoint.Loss{}}
	for i := range st.Ports {
		p := &st.Ports[i]
		out.Ports = append(out.Ports, endpoint.PortStats{Port: p.Name, PortNo: uint32(p.No),
			Values: vswitch.PortStatsMetrics.Read(p)})
	}
	s.eachLoss(&st, func(k lossKey, port string, n uint64) {
		if n > 0 {
			out.Losses = append(out.Losses, endpoint.Loss{Port: port, PortNo: uint32(k.port), Cause: k.cause, Lost: n})
		}
	})
	for _, port := range slices.Sorted(maps.Keys(st.Storm)) {
		no, ok := s.daemon.policy.PortNumber(port)
		if !ok {
			no = wholeDatapath // a tunnel has no port number in the datapath
		}
		drops := st.Storm[port]
		for kind, n := range drops {
			if n > 0 {
				out.Losses = append(out.Losses, endpoint.Loss{Port: port, PortNo: uint32(no),
					Cause: "storm_" + policy.StormKind(kind).String(), Lost: n})
			}
		}
	}
	return out, nil
}
