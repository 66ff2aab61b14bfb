package revalidator

import "time"

// Flow limit and its adaptation: udpif_revalidator of Open vSwitch 3.x,
// ofproto/ofproto-dpif-upcall.c, except for the growth: Open vSwitch dumps twice a second in
// any case, so its limit can wait for the next dump.
const (
	initialFlowLimit = 10_000
	minFlowLimit     = 1_000
	flowLimitStep    = 1_000
	// flowLimitGrowth is the maximum factor by which the limit grows after a fast dump: a table
	// that fills is dumped once per such growth.
	flowLimitGrowth = 16
	// crowdedIdle replaces max_idle for as many flows as exceed the limit.
	crowdedIdle = 100 * time.Millisecond
	// growthReport is the interval at which a growing limit is reported.
	growthReport = 10 * time.Second
)

// Causes of a change of the flow limit.
const (
	causeDumpVerySlow = "dump_over_2s"
	causeDumpSlow     = "dump_over_1300ms"
	causeDumpFast     = "dump_under_1s"
	causeConfigured   = "configured" // flows.limit was lowered
)

// flowLimit is the number of flows that the datapath may hold: as many as can be dumped in a
// given time, a second by default, within bounds.
type flowLimit struct {
	cap     int // flows.limit
	current int
	// grownFrom is the limit before growth that is not yet reported, 0 if there is none;
	// reported is the time of the last report.
	grownFrom int
	reported  time.Time
}

func newFlowLimit(cap int) flowLimit {
	return flowLimit{cap: cap, current: min(cap, initialFlowLimit)}
}

// adopt makes room for the flows found at start, up to the cap: the previous process was able
// to dump them. The first dump adapts the limit again.
func (l *flowLimit) adopt(flows int) {
	l.current = min(l.cap, max(l.current, flows+flowLimitStep))
}

// setCap changes the cap, and returns an event if that lowers the limit. With a higher cap the
// limit adapts later.
func (l *flowLimit) setCap(cap int, now time.Time) (FlowLimitChanged, bool) {
	l.cap = cap
	if l.current <= cap {
		return FlowLimitChanged{}, false
	}
	before := l.current
	l.current = cap
	return l.report(before, causeConfigured, now)
}

// adapt adapts the limit to a dump of flows flows that took a given part of the time that it
// may take. It returns the cause of a change, "" if there is none. The names of causes assume
// one second; other times are in proportion.
func (l *flowLimit) adapt(flows int, took, may time.Duration) (cause string) {
	limit := l.current
	ms := max(1, int(took*1000/may))
	switch {
	case ms > 2000:
		limit, cause = limit/(ms/1000), causeDumpVerySlow
	case ms > 1300:
		limit, cause = limit*3/4, causeDumpSlow
	case ms < 1000 && limit < flows*1000/ms:
		limit, cause = max(limit+flowLimitStep, min(flowLimitGrowth*limit, flows*1000/ms)), causeDumpFast
	}
	limit = min(l.cap, max(limit, minFlowLimit))
	if limit == l.current {
		return ""
	}
	l.current = limit
	return cause
}

// report returns the event to emit after adapt: a cut at once, growth when it has ended or once
// per growthReport.
func (l *flowLimit) report(before int, cause string, now time.Time) (FlowLimitChanged, bool) {
	if cause == causeDumpFast {
		if l.grownFrom == 0 {
			l.grownFrom = before
		}
		if now.Sub(l.reported) < growthReport {
			return FlowLimitChanged{}, false
		}
	}
	from := before
	if l.grownFrom != 0 {
		from = l.grownFrom
	}
	if from == l.current {
		return FlowLimitChanged{}, false
	}
	if cause == "" {
		cause = causeDumpFast
	}
	l.grownFrom, l.reported = 0, now
	return FlowLimitChanged{From: from, To: l.current, Cause: cause}, true
}

// idle returns how long a flow may be unused with this number of flows; 0 evicts flows in use
// too.
func (l *flowLimit) idle(flows int, maxIdle time.Duration) time.Duration {
	switch {
	case flows > 2*l.current:
		return 0
	case flows > l.current:
		return min(maxIdle, crowdedIdle)
	default:
		return maxIdle
	}
}
