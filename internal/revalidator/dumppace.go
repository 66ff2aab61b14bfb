package revalidator

import "time"

// dumpPace tells when a dump would find nothing to do. Times are milliseconds
// of CLOCK_MONOTONIC.
type dumpPace struct {
	begun  int64 // when the last dump began
	oldest int64 // no flow's last use is before this
	// guessed says that there are flows of which it is not known when they were
	// made.
	guessed bool
}

// begin notes that a dump begins.
func (p *dumpPace) begin(now int64) { p.begun, p.oldest, p.guessed = now, now, false }

// saw notes the last use of a flow of that dump. Flows that the dump did not
// show are newer than its beginning.
func (p *dumpPace) saw(used int64) { p.oldest = min(p.oldest, used) }

// guess notes that it is not known when some flow was made.
func (p *dumpPace) guess() { p.guessed = true }

// due reports whether to dump: a flow may have become idle, or flows come near
// their limit while that may still grow, which goes by how long dumps take, or
// have reached it. A quarter of maxIdle bounds how much too long flows live of which it is not
// known when they were made.
func (p *dumpPace) due(now int64, maxIdle time.Duration, flows, limit, most int) bool {
	idle := maxIdle.Milliseconds()
	near := limit
	if limit < most {
		near = limit / 2
	}
	return now-p.oldest >= idle || p.guessed && now-p.begun >= idle/4 || flows >= near
}

// urgentShare and lazyShare bound the time that full dumps take: to a fourth of a core when
// flows in force may be wrong, and to a fiftieth when MACs are only about to be forgotten.
const urgentShare, lazyShare = 4, 50

// fullPace spaces full dumps by the time that they take.
type fullPace struct {
	ended time.Time     // the last one
	time  time.Duration // that it took
}

// took notes a full dump.
func (p *fullPace) took(start, end time.Time) { p.ended, p.time = end, end.Sub(start) }

// allows reports whether full dumps take no more than the given share of the time if
// one begins now.
func (p *fullPace) allows(now time.Time, share int) bool {
	return now.Sub(p.ended) >= time.Duration(share-1)*p.time
}
