// Package watchdog notifies the service manager that a daemon works, as long as each of its
// goroutines completes rounds of its loop.
package watchdog

import (
	"context"
	"slices"
	"time"
)

// Rounds counts the completed rounds of a goroutine's loop.
type Rounds struct {
	Name  string // "handler 0", "port poll"
	Count uint64
}

// Pulse tells whether work is done.
type Pulse interface {
	Rounds() []Rounds
	// Nudge wakes sleeping goroutines for one round.
	Nudge()
}

// Config selects the goroutines to watch. All fields are required.
type Config struct {
	Interval time.Duration // at most, between two feeds
	Pulse    func() Pulse  // of now
	Feed     func()
	// Withheld is called once when the feed is late, with the names of the goroutines that
	// completed no round.
	Withheld func(late []string, since time.Duration)
}

// Watchdog feeds the service manager's watchdog twice in each interval, but only if each
// goroutine has completed a round since the last feed. When a goroutine is late, the Watchdog
// checks more often.
type Watchdog struct {
	cfg      Config
	from     Pulse
	before   map[string]uint64 // rounds at the last feed
	fed      time.Time
	reported bool
}

// New returns a Watchdog. Run starts it.
func New(cfg Config) *Watchdog { return &Watchdog{cfg: cfg} }

// looks is the number of checks in half an interval while a goroutine is late.
const looks = 16

// Run works until ctx ends.
func (w *Watchdog) Run(ctx context.Context) {
	half := w.cfg.Interval / 2
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
			w.cfg.Feed()
			w.begin()
			next.Reset(half)
			continue
		}
		if !w.reported {
			w.reported = true
			w.cfg.Withheld(late, time.Since(w.fed))
		}
		next.Reset(max(half/looks, time.Millisecond))
	}
}

// begin notes the current rounds, and wakes sleeping goroutines for another.
func (w *Watchdog) begin() {
	w.from, w.fed, w.reported = w.cfg.Pulse(), time.Now(), false
	w.before = map[string]uint64{}
	for _, r := range w.from.Rounds() {
		w.before[r.Name] = r.Count
	}
	w.from.Nudge()
}

// late names the goroutines that have completed no round since begin. If another pulse has
// taken over, that counts as progress.
func (w *Watchdog) late() (names []string) {
	now := w.cfg.Pulse()
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
