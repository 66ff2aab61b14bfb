package forward

import "dpifd/internal/metric"

// MACMetrics are the counters of a MAC table.
var MACMetrics = metric.Table[Stats]{
	metric.Gauge("macs", metric.None, "MACs in the table",
		func(s *Stats) int { return s.Entries }),
	metric.Counter("macs_learned", metric.None, "MACs learned",
		func(s *Stats) uint64 { return s.Learned }),
	metric.Counter("macs_moved", metric.None, "MACs that moved to another port",
		func(s *Stats) uint64 { return s.Moved }),
	metric.Counter("macs_expired", metric.None, "MACs removed by aging",
		func(s *Stats) uint64 { return s.Expired }),
	metric.Counter("macs_evicted", metric.None, "MACs removed to make room",
		func(s *Stats) uint64 { return s.Evicted }),
}
