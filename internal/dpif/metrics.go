package dpif

import "dpifd/internal/metric"

// DatapathMetrics are the kernel's counters of a datapath.
var DatapathMetrics = metric.Table[DatapathStats]{
	metric.Counter("hit", metric.None, "packets that matched a flow",
		func(s *DatapathStats) uint64 { return s.Hit }).WithDelta(),
	metric.Counter("missed", metric.None, "packets that matched no flow",
		func(s *DatapathStats) uint64 { return s.Missed }).WithDelta(),
	metric.Counter("lost", metric.None, "misses that the kernel could not deliver as upcalls",
		func(s *DatapathStats) uint64 { return s.Lost }).WithDelta(),
	metric.Gauge("flows", metric.None, "flows in the datapath",
		func(s *DatapathStats) uint64 { return s.Flows }),
	metric.Gauge("masks", metric.None, "masks in the flow table",
		func(s *DatapathStats) uint32 { return s.Masks }),
	metric.Counter("mask_hit", metric.None, "masks searched by lookups",
		func(s *DatapathStats) uint64 { return s.MaskHit }),
	metric.Counter("cache_hit", metric.None, "lookups answered by the mask cache",
		func(s *DatapathStats) uint64 { return s.CacheHit }),
}

// Since returns s with the increase of the counters since before. Flows and masks are
// unchanged.
func (s DatapathStats) Since(before *DatapathStats) DatapathStats {
	s.Hit -= before.Hit
	s.Missed -= before.Missed
	s.Lost -= before.Lost
	s.MaskHit -= before.MaskHit
	s.CacheHit -= before.CacheHit
	return s
}

// UpcallMetrics are the kernel's counters of the upcalls of a vport.
var UpcallMetrics = metric.Table[UpcallStats]{
	metric.Counter("upcall_success", metric.None, "upcalls that the kernel queued; 0 if the kernel does not count them",
		func(s *UpcallStats) uint64 { return s.Success }),
	metric.Counter("upcall_fail", metric.None,
		"upcalls that the kernel could not queue; 0 if the kernel does not count them",
		func(s *UpcallStats) uint64 { return s.Fail }),
}

// VportMetrics are the kernel's counters of the packets of a vport.
var VportMetrics = metric.Table[VportStats]{
	metric.Counter("rx_packets", metric.None, "packets received on the port",
		func(s *VportStats) uint64 { return s.RxPackets }),
	metric.Counter("tx_packets", metric.None, "packets sent on the port",
		func(s *VportStats) uint64 { return s.TxPackets }),
	metric.Counter("rx", metric.Bytes, "bytes received on the port",
		func(s *VportStats) uint64 { return s.RxBytes }),
	metric.Counter("tx", metric.Bytes, "bytes sent on the port",
		func(s *VportStats) uint64 { return s.TxBytes }),
	metric.Counter("rx_dropped", metric.None, "packets dropped on receive",
		func(s *VportStats) uint64 { return s.RxDropped }),
	metric.Counter("tx_dropped", metric.None, "packets dropped on send",
		func(s *VportStats) uint64 { return s.TxDropped }),
}
