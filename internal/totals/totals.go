// Package totals contains the table of all counters of a daemon. The event stats, the answer to
// GetStats, the metrics text and the mtail program are generated from it.
package totals

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/snoop"
	"dpifd/internal/upcall"
	"dpifd/internal/vswitch"
)

// Prefixes of the names of all metrics for Prometheus; the second is for metrics of a port.
const (
	Prefix     = "dpifd_"
	PortPrefix = "dpifd_port_"
)

// Reading holds one reading of all counters of a daemon.
type Reading struct {
	Uptime     time.Duration
	Goroutines int
	RingFill   uint32              // maximum of any ring since the last reading for the log
	Longest    time.Duration       // batch since the last reading for the log
	Upcalls    metric.Distribution // upper bounds of latencies
	Kernel     dpif.DatapathStats  // since the run began
	Ports      upcall.PortCounters // of all ports, including removed ones, and of earlier datapaths
	Served     vswitch.Stats
	MACs       forward.Stats
	Groups     snoop.Counters
	LogDropped uint64 // lines
}

// Table lists the counters of a daemon, in the order of event stats and of
// endpoint.Stats.Totals.
var Table = metric.Join(
	metric.Table[Reading]{
		metric.Gauge("uptime", metric.Seconds, "time since the daemon started",
			func(r *Reading) int64 { return metric.Duration(r.Uptime, metric.Seconds) }),
		metric.Gauge("goroutines", metric.None, "goroutines",
			func(r *Reading) int { return r.Goroutines }),
		metric.Gauge("batch_max", metric.Microseconds, "duration of the longest batch in the interval",
			func(r *Reading) int64 { return metric.Duration(r.Longest, metric.Microseconds) }).ForLogOnly(),
	},
	metric.Quantiles("upcall", "latency of upcalls until the answer is sent",
		func(r *Reading) *metric.Distribution { return &r.Upcalls }),
	metric.Table[Reading]{
		metric.Gauge("ring_fill_max", metric.None, "most frames in use in any ring during the interval",
			func(r *Reading) int64 { return int64(r.RingFill) }).ForLogOnly(),
		metric.Counter("log_dropped", metric.None, "log lines dropped because the reader did not keep up",
			func(r *Reading) uint64 { return r.LogDropped }),
		metric.Counter("foreign", metric.None, "messages from other processes or datapaths, ignored",
			func(r *Reading) int64 {
				return int64(r.Ports.Foreign + r.Ports.Socket.Foreign + r.Ports.Socket.RingForeign + foreignRequests(&r.Served))
			}),
	},
	metric.Of(dpif.DatapathMetrics, func(r *Reading) *dpif.DatapathStats { return &r.Kernel }),
	metric.Of(upcall.PortMetrics, func(r *Reading) *upcall.PortCounters { return &r.Ports }),
	metric.Of(netlink.ReceiveMetrics, func(r *Reading) *netlink.Counters { return &r.Ports.Socket }),
	metric.Of(vswitch.Metrics, func(r *Reading) *vswitch.Stats { return &r.Served }),
	metric.Of(forward.MACMetrics, func(r *Reading) *forward.Stats { return &r.MACs }),
	metric.Of(snoop.Metrics, func(r *Reading) *snoop.Counters { return &r.Groups }),
)

// foreignRequests sums the messages that other processes put into sockets that belong to no
// port, for example through a multicast group.
func foreignRequests(st *vswitch.Stats) uint64 {
	n := st.Notifiers.Foreign
	for _, r := range st.RequestSockets {
		n += r.Counters.Foreign
	}
	return n
}
