package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/policy"
	"dpifd/internal/revalidator"
	"dpifd/internal/upcall"
)

// PortStatsMetrics are the metrics of each port, see Stats.Ports.
var PortStatsMetrics = metric.Join(
	metric.Table[PortStats]{
		metric.Gauge("handler", metric.None, "number of the handler, from 0; -1 if all handlers serve the port",
			func(p *PortStats) int { return p.Handler }),
	},
	metric.Of(upcall.PortMetrics.Only("upcalls", "executed", "dropped", "spoofed", "socket_drops", "shed",
		"execute_refused"),
		func(p *PortStats) *upcall.PortCounters { return &p.Counters }),
	metric.Table[PortStats]{
		metric.Counter("lost", metric.None, "packets lost, for any cause",
			func(p *PortStats) uint64 { return p.Counters.Lost() + p.Storm.Sum() }),
		metric.Counter("decode_errors", metric.None, "messages that are not valid upcalls (truncated or malformed): lost",
			func(p *PortStats) uint64 { return p.Counters.Undecodable() }),
	},
	metric.Of(revalidator.StormMetrics, func(p *PortStats) *policy.StormDrops { return &p.Storm }),
	metric.Of(dpif.UpcallMetrics, func(p *PortStats) *dpif.UpcallStats { return &p.Kernel }),
	metric.Of(dpif.VportMetrics, func(p *PortStats) *dpif.VportStats { return &p.Vport }),
)

// Metrics are the metrics of a served datapath except the kernel's counters and the sum over
// its ports.
var Metrics = metric.Join(
	metric.Of(revalidator.Metrics, func(s *Stats) *revalidator.Counters { return &s.Revalidator }),
	metric.Of(revalidator.StormMetrics, func(s *Stats) *policy.StormDrops { return &s.Revalidator.Storm }),
	metric.Of(netlink.SendMetrics, func(s *Stats) *netlink.Counters { return &s.Requests }),
	metric.Table[Stats]{
		metric.Gauge("ports", metric.None, "ports served",
			func(s *Stats) int { return len(s.Ports) }),
		metric.Gauge("flows_static", metric.None, "installed flows of flows.static",
			func(s *Stats) int { return s.StaticFlows }),
		metric.Gauge("flow_limit", metric.None, "current flow limit",
			func(s *Stats) int64 { return s.FlowLimit }),
		metric.Gauge("ring", metric.Bytes, "memory of rings",
			func(s *Stats) uint64 { return s.RingBytes }),
		metric.Counter("features_restored", metric.None, "number of times that user features were restored",
			func(s *Stats) uint64 { return s.Restored.Features }),
		metric.Counter("upcall_pids_restored", metric.None, "number of times that upcall PIDs were restored",
			func(s *Stats) uint64 { return s.Restored.UpcallPIDs }),
		metric.Counter("notifier_overflows", metric.None, "number of times that notifications were lost",
			func(s *Stats) uint64 { return s.Restored.NotifierOverflows }),
		metric.Counter("epoll_waits", metric.None, "calls of epoll_wait",
			func(s *Stats) uint64 { return s.Polls }),
		metric.Counter("batches", metric.None, "batches of upcalls answered",
			func(s *Stats) uint64 { return s.Batches }),
		metric.Counter("batch", metric.Microseconds, "total time from receipt of a batch until its answers were sent",
			func(s *Stats) int64 { return metric.Duration(s.BatchTime, metric.Microseconds) }),
		metric.Counter("handler_cpu_wait", metric.Microseconds, "total time that ready handler threads waited for a CPU",
			func(s *Stats) int64 { return metric.Duration(s.CPUWait, metric.Microseconds) }).WithDelta(),
		metric.Counter("send_errors", metric.None, "batches that could not be sent completely",
			func(s *Stats) uint64 { return s.SendErrors }),
	},
)
