package dpif

import "time"

// dumpPace tells when a dump would find nothing to do. Times are milliseconds
// of CLOCK_MONOTONIC.
type dumpPace struct {
	begun  int64 // when the last dump began
	oldest int64 // no flow's last use is before this
}

// begin notes that a dump begins.
func (p *dumpPace) begin(now int64) { p.begun, p.oldest = now, now }

// saw notes the last use of a flow of that dump. Flows that the dump did not
// show are newer than its beginning.
func (p *dumpPace) saw(used int64) { p.oldest = min(p.oldest, used) }

// due reports whether to dump: a flow may have become idle, flows come near
// their limit while that may still grow, which goes by how long dumps take, or
// have reached it, or a quarter of maxIdle has passed. The latter bounds how much too
// long a flow may live that no packet ever matched, since the kernel has no time
// for it.
func (p *dumpPace) due(now int64, maxIdle time.Duration, flows, limit, most int) bool {
	idle := maxIdle.Milliseconds()
	near := limit
	if limit < most {
		near = limit / 2
	}
	return now-p.oldest >= idle || now-p.begun >= idle/4 || flows >= near
}
