package daemon

import (
	"dpifd/internal/event"
)

type evLockUnavailable struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evLockUnavailable](event.Kind{Name: "lock_unavailable", Level: event.Warn,
	Meaning: "dpifd could not take the lock in /run/dpifd that keeps a second daemon off the same datapath. It " +
		"serves the datapath without the lock.",
	Advice: "Check that /run/dpifd exists and belongs to the user of the daemon (RuntimeDirectory of the service). " +
		"Do not start a second daemon for the datapath.",
})

type evLogDropped struct {
	event.OfDatapath
	Lines      uint64 `event:"lines" means:"lines since the last such event"`
	LinesTotal uint64 `event:"lines_total" means:"lines since start"`
}

var _ = event.Declare[evLogDropped](event.Kind{Name: "log_dropped", Level: event.Warn,
	Meaning: "Log lines were dropped because the reader of the log did not keep up; forwarding does not wait for " +
		"it. `lines` counts the lines dropped since the last such event.",
	Advice: "Find out why the reader is slow or stopped (journald, the container's log driver). If `log.level` is " +
		"debug, set it to info.",
})
