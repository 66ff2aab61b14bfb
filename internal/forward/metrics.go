package forward

import "dpifd/internal/metric"

// MACMetrics are what a MAC table counts.
var MACMetrics = metric.Table[Stats]{
	metric.Gauge("macs", metric.None, "MACs known",
		func(s *Stats) int { return s.Entries }),
	metric.Counter("macs_learned", metric.None, "MACs that were unknown",
		func(s *Stats) uint64 { return s.Learned }),
	metric.Counter("macs_moved", metric.None, "MACs that changed their port",
		func(s *Stats) uint64 { return s.Moved }),
	metric.Counter("macs_expired", metric.None, "MACs forgotten as too old",
		func(s *Stats) uint64 { return s.Expired }),
	metric.Counter("macs_evicted", metric.None, "MACs forgotten to make room",
		func(s *Stats) uint64 { return s.Evicted }),
}
