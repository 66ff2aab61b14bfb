package revalidator

import "time"

// dumpPace decides whether a dump could find anything to do. Times are milliseconds of
// CLOCK_MONOTONIC.
type dumpPace struct {
	begun  int64 // when the last dump began
	oldest int64 // no flow's last use is before this
	flows  int   // of the last dump
	// guessed means that the creation time of some flows is unknown.
	guessed bool
}

// begin records that a dump begins.
func (p *dumpPace) begin(now int64) { *p = dumpPace{begun: now, oldest: now} }

// saw records the last use of a flow of that dump. Flows that the dump did not show are newer
// than its start.
func (p *dumpPace) saw(used int64) {
	p.oldest = min(p.oldest, used)
	p.flows++
}

// guess records that the creation time of a flow is unknown.
func (p *dumpPace) guess() { p.guessed = true }

// due reports whether to dump: a flow may be idle; or the limit may still grow, which depends
// on the duration of dumps, and flows are close to it or many more than in the last dump, so
// that the dump is a small one; or flows have reached it. Flows with an unknown creation time
// live at most a quarter of maxIdle too long.
func (p *dumpPace) due(now int64, maxIdle time.Duration, flows, limit, most int) bool {
	idle := maxIdle.Milliseconds()
	near := limit
	if limit < most {
		near = min(limit/2, max(minFlowLimit, flowLimitGrowth*p.flows))
	}
	return now-p.oldest >= idle || p.guessed && now-p.begun >= idle/4 || flows >= near
}

// urgentShare and lazyShare limit the time of full dumps: to a quarter of a core if installed
// flows may be wrong, and to a fiftieth if MACs are only about to age.
const urgentShare, lazyShare = 4, 50

// fullPace limits the rate of full dumps by their duration.
type fullPace struct {
	ended time.Time     // end of the last one
	time  time.Duration // its duration
}

// took records a full dump.
func (p *fullPace) took(start, end time.Time) { p.ended, p.time = end, end.Sub(start) }

// allows reports whether full dumps stay within the given share of the time if one starts now.
func (p *fullPace) allows(now time.Time, share int) bool {
	return now.Sub(p.ended) >= time.Duration(share-1)*p.time
}
