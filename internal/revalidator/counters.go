package revalidator

import (
	"sync/atomic"
	"time"

	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/policy"
)

type counters struct {
	cycles, fullCycles          atomic.Uint64
	looks                       atomic.Uint64 // successful cycles, with or without a dump
	expired, corrected, deleted atomic.Uint64
	failed                      atomic.Uint64
	flows                       atomic.Int64 // in the datapath at the last cycle
	lastDump                    atomic.Int64 // ns
	storm                       stormDrops

	rounds  atomic.Uint64 // of Run; before that, flows adopted
	running atomic.Bool
}

// Counters count from the start, except Flows and LastDump.
type Counters struct {
	Cycles     uint64 // cycles with a dump
	FullCycles uint64 // of these, with keys and actions, to re-decide
	Expired    uint64 // flows deleted as idle
	Deleted    uint64 // flows deleted because they are stale
	Corrected  uint64 // flows whose actions were changed
	Failed     uint64 // requests that the kernel refused
	Flows      int64  // in the datapath at the last cycle
	LastDump   time.Duration
	Storm      policy.StormDrops // packets that storm control dropped, of all ports
}

func (c *counters) snapshot() Counters {
	return Counters{
		Cycles: c.cycles.Load(), FullCycles: c.fullCycles.Load(), Expired: c.expired.Load(),
		Deleted: c.deleted.Load(), Corrected: c.corrected.Load(), Failed: c.failed.Load(),
		Flows: c.flows.Load(), LastDump: time.Duration(c.lastDump.Load()),
	}
}

// Counters returns the counters. It may be called by any goroutine.
func (r *Revalidator) Counters() Counters {
	c := r.counters.snapshot()
	c.Storm = r.counters.storm.total()
	return c
}

// Looks returns the number of successful cycles that did not defer a requested full dump. It
// may be called by any goroutine.
func (r *Revalidator) Looks() uint64 { return r.counters.looks.Load() }

// Rounds returns the number of rounds of Run, where 1,024 flows of a dump or sweep count as
// one, and whether Run has started; before that it returns the number of adopted flows. It may
// be called by any goroutine.
func (r *Revalidator) Rounds() (n uint64, running bool) {
	return r.counters.rounds.Load(), r.counters.running.Load()
}

// Requests returns the counters of the request socket. It may be called by any
// goroutine.
func (r *Revalidator) Requests() netlink.Counters { return r.dp.Conn().Counters() }

// StaticFlows returns the static flows with their state, including those that wait for a port.
// It may be called by any goroutine.
func (r *Revalidator) StaticFlows() []StaticFlowStats { return r.statics.list() }

// InstalledStaticFlows returns how many static flows are in the datapath. It may be
// called by any goroutine.
func (r *Revalidator) InstalledStaticFlows() int { return r.statics.installedCount() }

// Metrics are the counters of the revalidator.
var Metrics = metric.Table[Counters]{
	metric.Counter("flows_expired", metric.None, "flows deleted as idle",
		func(c *Counters) uint64 { return c.Expired }),
	metric.Counter("flows_deleted", metric.None, "flows deleted for other reasons",
		func(c *Counters) uint64 { return c.Deleted }),
	metric.Counter("flows_corrected", metric.None, "flows whose actions were changed",
		func(c *Counters) uint64 { return c.Corrected }),
	metric.Counter("sweeps_refused", metric.None, "deletions and corrections that the kernel refused",
		func(c *Counters) uint64 { return c.Failed }),
	metric.Counter("revalidator_cycles", metric.None, "cycles of the revalidator",
		func(c *Counters) uint64 { return c.Cycles }),
	metric.Gauge("revalidator_dump", metric.Milliseconds, "duration of the last dump of all flows",
		func(c *Counters) int64 { return metric.Duration(c.LastDump, metric.Milliseconds) }),
}

// StormMetrics are the drops of storm control, of a port or of all ports.
var StormMetrics = metric.Table[policy.StormDrops]{
	metric.Counter("storm_broadcast", metric.None, "broadcast above the limit in ports[].storm: lost",
		func(d *policy.StormDrops) uint64 { return d[policy.StormBroadcast] }),
	metric.Counter("storm_multicast", metric.None, "other multicast above the limit in ports[].storm: lost",
		func(d *policy.StormDrops) uint64 { return d[policy.StormMulticast] }),
	metric.Counter("storm_unknown_unicast", metric.None, "unicast to unknown MACs above the limit in ports[].storm: lost",
		func(d *policy.StormDrops) uint64 { return d[policy.StormUnknownUnicast] }),
}
