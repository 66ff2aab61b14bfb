package daemon

import (
	"context"
	"slices"
	"strings"
	"time"

	"dpifd/internal/vswitch"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// pulse is what tells whether the daemon does its work.
type pulse interface {
	Rounds() []vswitch.Rounds
	Nudge()
}

// watchdog tells the service manager, twice in each of its intervals, that the
// daemon does its work: only if each of the goroutines that a datapath depends
// on went round since the last time. It looks more often than that once one is
// late.
type watchdog struct {
	interval time.Duration // at most, between two tellings
	pulse    func() pulse  // of now
	feed     func()
	withheld func(late []string, since time.Duration)

	from     pulse
	before   map[string]uint64 // rounds at the last telling
	fed      time.Time
	reported bool
}

// watchdogLooks is how many looks there are in half an interval while a
// goroutine is late.
const watchdogLooks = 16

// run works until ctx ends.
func (w *watchdog) run(ctx context.Context) {
	half := w.interval / 2
	next := time.NewTimer(half)
	defer next.Stop()
	w.begin()
	for {
		select {
		case <-ctx.Done():
			return
		case <-next.C:
		}
		late := w.late()
		if len(late) == 0 {
			w.feed()
			w.begin()
			next.Reset(half)
			continue
		}
		if !w.reported {
			w.reported = true
			w.withheld(late, time.Since(w.fed))
		}
		next.Reset(max(half/watchdogLooks, time.Millisecond))
	}
}

// begin notes the rounds of now, and has who sleeps make another.
func (w *watchdog) begin() {
	w.from, w.fed, w.reported = w.pulse(), time.Now(), false
	w.before = map[string]uint64{}
	for _, r := range w.from.Rounds() {
		w.before[r.Name] = r.Count
	}
	w.from.Nudge()
}

// late names who made no round since begin. Where another pulse has taken over,
// that is progress enough.
func (w *watchdog) late() (names []string) {
	now := w.pulse()
	if now != w.from {
		return nil
	}
	for _, r := range now.Rounds() {
		if before, known := w.before[r.Name]; known && before == r.Count {
			names = append(names, r.Name)
		}
	}
	slices.Sort(names)
	return names
}

// waiting is the pulse of a daemon that has no datapath to serve: it looks for
// one.
type waiting struct{ d *run }

func (w waiting) Rounds() []vswitch.Rounds {
	return []vswitch.Rounds{{Name: "wait for the datapath", Count: w.d.looks.Load()}}
}

func (w waiting) Nudge() {}

// pulse returns the pulse of what the daemon does now.
func (d *run) pulse() pulse {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.server == nil {
		return waiting{d}
	}
	return d.server
}

// watch feeds the service manager's watchdog, if there is one, until ctx ends.
func (d *run) watch(ctx context.Context) {
	interval, err := sd.SdWatchdogEnabled(false)
	if err != nil || interval <= 0 {
		return // not asked for; the manager checks its own variables
	}
	w := &watchdog{
		interval: interval, pulse: d.pulse,
		feed: func() { d.tellManager(sd.SdNotifyWatchdog) },
		withheld: func(late []string, since time.Duration) {
			d.log.emit(evWatchdogWithheld{Late: strings.Join(late, ", "), LateFor: since, Watchdog: interval})
		},
	}
	w.run(ctx)
}
