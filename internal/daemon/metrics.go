package daemon

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/forward"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"
	"dpifd/internal/vswitch"
)

// The names of all metrics for Prometheus begin so, those of a port with the second.
const (
	MetricPrefix     = "dpifd_"
	PortMetricPrefix = "dpifd_port_"
)

// reading is all counters of a daemon as they were read once.
type reading struct {
	uptime     time.Duration
	goroutines int
	ringFill   uint32              // greatest of a ring since the last reading for the log
	longest    time.Duration       // batch since the last reading for the log
	upcalls    metric.Distribution // how long they took at most
	kernel     dpif.DatapathStats  // since the run began
	ports      upcall.PortCounters // of all ports, those that have gone included, and of datapaths before
	served     vswitch.Stats
	macs       forward.Stats
	logDropped uint64 // lines
}

// Totals are the counters of a daemon, in the order of event stats and of
// Stats.Totals.
var Totals = metric.Join(
	metric.Table[reading]{
		metric.Gauge("uptime", metric.Seconds, "time since the daemon started",
			func(r *reading) int64 { return metric.Duration(r.uptime, metric.Seconds) }),
		metric.Gauge("goroutines", metric.None, "goroutines",
			func(r *reading) int { return r.goroutines }),
		metric.Gauge("batch_max", metric.Microseconds, "duration of the longest batch in the interval",
			func(r *reading) int64 { return metric.Duration(r.longest, metric.Microseconds) }).ForLogOnly(),
	},
	metric.Quantiles("upcall", "latency of upcalls until the answer is sent",
		func(r *reading) *metric.Distribution { return &r.upcalls }),
	metric.Table[reading]{
		metric.Gauge("ring_fill_max", metric.None, "most frames in use in any ring during the interval",
			func(r *reading) int64 { return int64(r.ringFill) }).ForLogOnly(),
		metric.Counter("log_dropped", metric.None, "log lines dropped because the reader did not keep up",
			func(r *reading) uint64 { return r.logDropped }),
		metric.Counter("foreign", metric.None, "messages from other processes or datapaths, ignored",
			func(r *reading) int64 {
				return int64(r.ports.Foreign + r.ports.Socket.Foreign + r.ports.Socket.RingForeign + foreignRequests(&r.served))
			}),
	},
	metric.Of(dpif.DatapathMetrics, func(r *reading) *dpif.DatapathStats { return &r.kernel }),
	metric.Of(upcall.PortMetrics, func(r *reading) *upcall.PortCounters { return &r.ports }),
	metric.Of(netlink.ReceiveMetrics, func(r *reading) *netlink.Counters { return &r.ports.Socket }),
	metric.Of(vswitch.Metrics, func(r *reading) *vswitch.Stats { return &r.served }),
	metric.Of(forward.MACMetrics, func(r *reading) *forward.Stats { return &r.macs }),
)
