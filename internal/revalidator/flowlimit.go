package revalidator

import "time"

// Flow limit and its adaptation: udpif_revalidator of Open vSwitch 3.x,
// ofproto/ofproto-dpif-upcall.c, but for the growth: that dumps twice a second in
// any case, and may wait for the next dump.
const (
	initialFlowLimit = 10_000
	minFlowLimit     = 1_000
	flowLimitStep    = 1_000
	// flowLimitGrowth is by how much the limit grows at most where dumps are fast
	// enough: a table that fills is dumped once in as much of growth.
	flowLimitGrowth = 4
	// crowdedIdle takes the place of max_idle for as many flows as there are
	// more than the limit.
	crowdedIdle = 100 * time.Millisecond
	// growthReport is how often a growing limit is reported.
	growthReport = 10 * time.Second
)

// Causes of a change of the flow limit.
const (
	causeDumpVerySlow = "dump_over_2s"
	causeDumpSlow     = "dump_over_1300ms"
	causeDumpFast     = "dump_under_1s"
	causeConfigured   = "configured" // flows.limit was lowered
)

// flowLimit is how many flows the datapath may hold: as many as can be dumped
// in a time, a second by default, within bounds.
type flowLimit struct {
	cap     int // flows.limit
	current int
	// grownFrom is the limit before growth that was not reported yet, 0 if
	// there is none; reported is when growth was.
	grownFrom int
	reported  time.Time
}

func newFlowLimit(cap int) flowLimit {
	return flowLimit{cap: cap, current: min(cap, initialFlowLimit)}
}

// adopt makes room for the flows found at the start, as far as the cap allows:
// the process before had found that they can be dumped. The first dump judges
// anew.
func (l *flowLimit) adopt(flows int) {
	l.current = min(l.cap, max(l.current, flows+flowLimitStep))
}

// setCap changes the cap, and reports what there is to tell if that lowers the
// limit. A higher cap leaves it to adapt.
func (l *flowLimit) setCap(cap int, now time.Time) (FlowLimitChanged, bool) {
	l.cap = cap
	if l.current <= cap {
		return FlowLimitChanged{}, false
	}
	before := l.current
	l.current = cap
	return l.report(before, causeConfigured, now)
}

// adapt takes how long the dump of so many flows took, of the time that it may
// take, and returns why the limit has changed, "" if it has not. Causes are named
// for the time of a second, and hold for others in proportion.
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

// report says what there is to tell after adapt: a cut at once, growth when it
// has ended or once in growthReport.
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

// idle returns how long a flow may be unused while there are so many flows; 0 is
// not even that it is in use.
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
