package daemon

import "dpifd/internal/event"

type evLockUnavailable struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evLockUnavailable](event.Kind{Name: "lock_unavailable", Level: event.Warn,
	Meaning: "The lock that keeps a second daemon from serving the same datapath could not be taken in /run/dpifd. " +
		"The daemon serves the datapath without it.",
	Advice: "See that /run/dpifd exists and is the daemon's (RuntimeDirectory of the service). Start no second daemon " +
		"for the datapath.",
})

type evLogDropped struct {
	event.OfDatapath
	Lines      uint64 `event:"lines" means:"lines of the log since it was last said"`
	LinesTotal uint64 `event:"lines_total" means:"lines of the log since start"`
}

var _ = event.Declare[evLogDropped](event.Kind{Name: "log_dropped", Level: event.Warn,
	Meaning: "Lines of the log were dropped because its reader stalled: forwarding does not wait for it. `lines` " +
		"counts those since this was last said.",
	Advice: "See why the log's reader is slow or stopped (journald, the container's log driver); lower `log.level` if " +
		"it is debug.",
})

type evDatapathRenamed struct {
	event.OfDatapath
	LocalPort string `event:"local_port" means:"name of the datapath's local port"`
	Index     int32  `event:"dp_index"`
}

var _ = event.Declare[evDatapathRenamed](event.Kind{Name: "datapath_renamed", Level: event.Warn,
	Meaning: "No datapath has the configured name, but the one that the daemon before served exists: its local port " +
		"was renamed to `local_port`. It is served on.",
	Advice: "Give the local port its name back (`ip link set LOCAL_PORT name DATAPATH`), or set `datapath.name` to the " +
		"new one.",
})
