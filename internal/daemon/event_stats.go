package daemon

import (
	"slices"
	"time"

	"dpifd/internal/event"
	"dpifd/internal/metric"
	"dpifd/internal/odp"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"
)

// evStats has a field for each entry of totals.Table, and for some of them a field with their
// increase.
type evStats struct {
	event.OfDatapath
	Interval time.Duration `event:"interval_ms" means:"time since the previous stats event"`
	now, was metric.Values `event:"-"` // of totals.Table
}

var _ = event.Declare[evStats](event.Kind{Name: "stats", Level: event.Info,
	Meaning: "Totals since start; with `_delta` the change in the interval. hit, missed and lost count packets in " +
		"the kernel; masks and flows are those in the datapath; cache_hit is 0 on kernels without a mask cache. " +
		"epoll_waits, received_copy and received_linear, each divided by upcalls, show the system calls per upcall. " +
		"upcall_us is an upper bound of the latency of upcalls in the interval, without the wake-up of a sleeping " +
		"handler.",
})

// List implements event.Lister.
func (evStats) List() []event.Field {
	var out []event.Field
	for _, i := range totals.Table.Infos() {
		out = append(out, event.Field{Name: i.Field(), Meaning: i.Help})
		if i.Delta {
			out = append(out, event.Field{Name: i.Field() + event.DeltaSuffix})
		}
	}
	return out
}

// Values implements event.Lister.
func (e evStats) Values() []any {
	var out []any
	for n, i := range totals.Table.Infos() {
		out = append(out, e.now[n].Value)
		if i.Delta {
			out = append(out, e.now[n].Value-e.was[n].Value)
		}
	}
	return out
}

// evPortStats has a field for each entry of vswitch.PortStatsMetrics.
type evPortStats struct {
	event.OfDatapath
	Port   string        `event:"port"`
	No     odp.PortNo    `event:"port_no"`
	values metric.Values `event:"-"`
}

var _ = event.Declare[evPortStats](event.Kind{Name: "port_stats", Level: event.Debug,
	Meaning: "Counters of one port since it was added, with each `stats` event. `lost` is the sum over all causes. " +
		"rx and tx are counters of the kernel, and so are upcall_success and upcall_fail (0 before Linux 6.2).",
})

// List implements event.Lister. Fields that stats has too are explained there.
func (evPortStats) List() []event.Field {
	described := evStats{}.List()
	var out []event.Field
	for _, i := range vswitch.PortStatsMetrics.Infos() {
		f := event.Field{Name: i.Field(), Meaning: i.Help}
		if slices.ContainsFunc(described, func(g event.Field) bool { return g.Name == f.Name }) {
			f.Meaning = ""
		}
		out = append(out, f)
	}
	return out
}

// Values implements event.Lister.
func (e evPortStats) Values() []any {
	out := make([]any, len(e.values))
	for i, v := range e.values {
		out[i] = v.Value
	}
	return out
}
