package daemon

import (
	"time"

	"dpifd/internal/event"
)

type evStarting struct {
	event.Base
	Version string `event:"version" means:"version of the program and of Go"`
	PID     int    `event:"pid"`
	Host    string `event:"host" means:"host name"`
	Config  string `event:"config"`
	Netns   string `event:"netns" means:"network namespace: name or path; empty for the process's own"`
}

var _ = event.Declare[evStarting](event.Kind{Name: "starting", Level: event.Info,
	Meaning: "The daemon starts.",
	Advice:  "Nothing. If the start is unexpected, look for `failed` before it, or for a kill in the journal.",
})

type evDatapathGone struct {
	event.OfDatapath
	Err    error `event:"error"`
	Create bool  `event:"create" means:"true if dpifd may create it"`
}

var _ = event.Declare[evDatapathGone](event.Kind{Name: "datapath_gone", Level: event.Error,
	Meaning: "The datapath was deleted, or the module removed, while dpifd served it. If `create` is true dpifd " +
		"creates the datapath again, else it waits for it; it also waits for the module. `hit`, `missed` and `lost` " +
		"of `stats` start from 0; the other totals continue.",
	Advice: "Find out who deleted it (a del-dp command, rmmod). If `create` is false, create it again.",
})

type evReady struct {
	event.OfDatapath
	Policy       string        `event:"policy"`
	Handlers     int           `event:"handlers"`
	Ports        int           `event:"ports"`
	PortsWaiting int           `event:"ports_waiting" means:"configured ports that cannot be attached now"`
	Startup      time.Duration `event:"startup_ms" means:"time from start until ready"`
}

var _ = event.Declare[evReady](event.Kind{Name: "ready", Level: event.Info,
	Meaning: "Every configured port that exists is served.",
})

type evStopping struct {
	event.OfDatapath
	Reason string `event:"reason"`
}

var _ = event.Declare[evStopping](event.Kind{Name: "stopping", Level: event.Info,
	Meaning: "A signal told the daemon to stop. It turns upcalls off, then answers those in the queues.",
})

type evWatchdogWithheld struct {
	event.OfDatapath
	Late     string        `event:"late" means:"names of the daemon's threads, separated by commas"`
	LateFor  time.Duration `event:"late_ms" means:"time since their last round"`
	Watchdog time.Duration `event:"watchdog_ms" means:"time after which the service manager acts"`
}

var _ = event.Declare[evWatchdogWithheld](event.Kind{Name: "watchdog_withheld", Level: event.Error,
	Meaning: "dpifd did not notify the service manager's watchdog, because the threads in `late` (handlers, port " +
		"poll, revalidator) have not finished a round for `late_ms`. After `watchdog_ms` without notification the " +
		"manager kills and restarts the daemon. Logged once for each delay.",
	Advice: "Nothing if the daemon catches up. If the manager kills it, keep the goroutine dump in the journal " +
		"(SIGABRT) and report it with `late`.",
})

type evLostWhileDown struct {
	event.OfDatapath
	Lost   uint64        `event:"lost"`
	Missed uint64        `event:"missed"`
	Down   time.Duration `event:"down_ms" means:"time from the last checkpoint of the previous daemon to the start of this one"`
}

var _ = event.Declare[evLostWhileDown](event.Kind{Name: "lost_while_down", Level: event.Warn,
	Meaning: "The datapath lost upcalls between the last checkpoint of the previous daemon and the start of this " +
		"one: nobody listened, or handed-over sockets were full. Installed flows kept forwarding. The other " +
		"`missed` packets were answered before the previous daemon exited, wait in handed-over sockets, or were in " +
		"sockets that were closed.",
	Advice: "Restart with `systemctl restart` or SIGUSR2, which keep the sockets; see socket_not_kept. After a " +
		"crash, look for its cause.",
})

type evCheckpointFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evCheckpointFailed](event.Kind{Name: "checkpoint_failed", Level: event.Warn,
	Meaning: "Counters and MACs could not be saved in /run/dpifd for the next daemon, or could not be read. The " +
		"next daemon will not know what was lost while none ran. Logged once.",
	Advice: "Check that /run/dpifd exists and belongs to the user of the daemon (RuntimeDirectory of the service).",
})

type evFlowsFlushed struct {
	event.OfDatapath
}

var _ = event.Declare[evFlowsFlushed](event.Kind{Name: "flows_flushed", Level: event.Info,
	Meaning: "The flows were deleted at exit (on_exit: flush).",
})

type evDatapathDeleted struct {
	event.OfDatapath
}

var _ = event.Declare[evDatapathDeleted](event.Kind{Name: "datapath_deleted", Level: event.Info,
	Meaning: "The datapath was deleted at exit (on_exit: delete).",
})

type evExitFailed struct {
	event.OfDatapath
	OnExit string `event:"on_exit" means:"keep, flush or delete"`
	Err    error  `event:"error"`
}

var _ = event.Declare[evExitFailed](event.Kind{Name: "exit_action_failed", Level: event.Error,
	Meaning: "The action of on_exit failed.",
	Advice:  "Do it by hand: `dpifd del-flows DATAPATH --yes` or `dpifd del-dp DATAPATH --yes`.",
})

type evStopped struct {
	event.OfDatapath
	Uptime   time.Duration `event:"uptime_s"`
	Upcalls  uint64        `event:"upcalls"`
	Executed uint64        `event:"executed"`
	FlowsPut uint64        `event:"flows_put"`
	Lost     uint64        `event:"lost"`
}

var _ = event.Declare[evStopped](event.Kind{Name: "stopped", Level: event.Info,
	Meaning: "The daemon has stopped. The counters are totals since its start.",
})

type evFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evFailed](event.Kind{Name: "failed", Level: event.Error,
	Meaning: "The daemon exits with an error. If the configuration cannot be used at start and the file does not " +
		"name the datapath, `datapath` is empty.",
	Advice: "Act on `error`. The service manager starts the daemon again. Until then flows in the kernel keep " +
		"forwarding, and packets of new flows are lost.",
})
