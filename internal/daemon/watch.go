package daemon

import (
	"context"
	"strings"
	"time"

	"dpifd/internal/watchdog"

	sd "github.com/coreos/go-systemd/v22/daemon"
)

// waiting is the pulse of a daemon without a datapath, which looks for one.
type waiting struct{ d *run }

func (w waiting) Rounds() []watchdog.Rounds {
	return []watchdog.Rounds{{Name: "wait for the datapath", Count: w.d.looks.Load()}}
}

func (w waiting) Nudge() {}

// pulse returns the pulse of the daemon's current activity.
func (d *run) pulse() watchdog.Pulse {
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
	watchdog.New(watchdog.Config{
		Interval: interval, Pulse: d.pulse,
		Feed: func() { d.notifyManager(sd.SdNotifyWatchdog) },
		Withheld: func(late []string, since time.Duration) {
			d.log.emit(evWatchdogWithheld{Late: strings.Join(late, ", "), LateFor: since, Watchdog: interval})
		},
	}).Run(ctx)
}
