//go:build lab

package lab

import (
	"strings"
	"testing"
)

// Follower reads a daemon's log once, line by line, from its position on. Wait scans the whole
// log each time; a Follower is for thousands of events.
type Follower struct {
	daemon *Daemon
	at     int // number of bytes read
	rest   string
}

// Follow returns a reader of the daemon's log from now on.
func (d *Daemon) Follow() *Follower { return &Follower{daemon: d, at: len(d.Output())} }

// Next returns the next event that match accepts, and skips those before it. It fails the test if
// none comes within DaemonLimit.
func (f *Follower) Next(t testing.TB, match func(Event) bool) Event {
	t.Helper()
	timeout := newTimer(DaemonLimit)
	defer timeout.Stop()
	exited := f.daemon.exited
	for {
		more, grown := f.daemon.output.readFrom(f.at)
		f.at += len(more)
		f.rest += more
		for {
			line, rest, whole := strings.Cut(f.rest, "\n")
			if !whole {
				break
			}
			f.rest = rest
			if e, err := parseEvent(line); err == nil && match(e) {
				return e
			}
		}
		if exited == nil {
			t.Fatalf("the daemon exited (%v) before it wrote the event waited for", f.daemon.err)
		}
		select {
		case <-grown:
		case <-exited:
			exited = nil // the output is complete now: check it once more
		case <-timeout.C:
			if timeout.passed() {
				t.Fatalf("the daemon did not write the event waited for within %v", DaemonLimit)
			}
		}
	}
}
