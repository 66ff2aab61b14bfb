package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/revalidator"
	"dpifd/internal/upcall"
)

// PortStatsMetrics are what is told of each port, see Stats.Ports.
var PortStatsMetrics = metric.Join(
	metric.Table[PortStats]{
		metric.Gauge("handler", metric.None, "number of the handler, from 0; -1 for a port whose upcalls all handlers take",
			func(p *PortStats) int { return p.Handler }),
	},
	metric.Of(upcall.PortMetrics.Only("upcalls", "executed", "dropped", "socket_drops", "shed", "execute_refused"),
		func(p *PortStats) *upcall.PortCounters { return &p.Counters }),
	metric.Table[PortStats]{
		metric.Counter("lost", metric.None, "packets that did not go on, for any cause",
			func(p *PortStats) uint64 { return p.Counters.Lost() }),
		metric.Counter("decode_errors", metric.None, "messages that were no upcalls, truncated or malformed: lost",
			func(p *PortStats) uint64 { return p.Counters.Undecodable() }),
	},
	metric.Of(dpif.UpcallMetrics, func(p *PortStats) *dpif.UpcallStats { return &p.Kernel }),
	metric.Of(dpif.VportMetrics, func(p *PortStats) *dpif.VportStats { return &p.Vport }),
)

// Metrics are what is told of a served datapath besides the kernel's counters and
// the sum over its ports.
var Metrics = metric.Join(
	metric.Of(revalidator.Metrics, func(s *Stats) *revalidator.Counters { return &s.Revalidator }),
	metric.Of(netlink.SendMetrics, func(s *Stats) *netlink.Counters { return &s.Requests }),
	metric.Table[Stats]{
		metric.Gauge("ports", metric.None, "ports served",
			func(s *Stats) int { return len(s.Ports) }),
		metric.Gauge("flows_static", metric.None, "flows in the datapath that the configuration asks for",
			func(s *Stats) int { return s.StaticFlows }),
		metric.Gauge("flow_limit", metric.None, "flows allowed now",
			func(s *Stats) int64 { return s.FlowLimit }),
		metric.Gauge("ring", metric.Bytes, "memory of rings",
			func(s *Stats) uint64 { return s.RingBytes }),
		metric.Counter("features_restored", metric.None, "times that user features were set anew",
			func(s *Stats) uint64 { return s.Restored.Features }),
		metric.Counter("upcall_pids_restored", metric.None, "times that upcall PIDs were set anew",
			func(s *Stats) uint64 { return s.Restored.UpcallPIDs }),
		metric.Counter("notifier_overflows", metric.None, "times that notifications were lost",
			func(s *Stats) uint64 { return s.Restored.NotifierOverflows }),
		metric.Counter("epoll_waits", metric.None, "calls of epoll_wait",
			func(s *Stats) uint64 { return s.Polls }),
		metric.Counter("batches", metric.None, "batches of upcalls answered",
			func(s *Stats) uint64 { return s.Batches }),
		metric.Counter("batch", metric.Microseconds, "time from the receipt of batches until their answers were sent, in all",
			func(s *Stats) int64 { return metric.Duration(s.BatchTime, metric.Microseconds) }),
		metric.Counter("send_errors", metric.None, "batches that could not be sent whole",
			func(s *Stats) uint64 { return s.SendErrors }),
	},
)
