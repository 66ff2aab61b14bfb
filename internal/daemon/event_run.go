package daemon

import (
	"time"

	"dpifd/internal/event"
)

type evStarting struct {
	event.Base
	Version string `event:"version" means:"of the program and of Go"`
	PID     int    `event:"pid"`
	Host    string `event:"host" means:"host name"`
	Config  string `event:"config"`
	Netns   string `event:"netns" means:"network namespace: name or path; empty for the process's own"`
}

var _ = event.Declare[evStarting](event.Kind{Name: "starting", Level: event.Info,
	Meaning: "The daemon starts.",
	Advice:  "Nothing. If it comes unexpectedly, look for `failed` before it, or for a kill in the journal.",
})

type evModuleLoading struct {
	event.Base
	Module string `event:"module"`
}

var _ = event.Declare[evModuleLoading](event.Kind{Name: "module_loading", Level: event.Info,
	Meaning: "The kernel has no openvswitch families; loading the module is tried once.",
})

type evModuleLoadFailed struct {
	event.Base
	Module string `event:"module"`
	Err    error  `event:"error"`
}

var _ = event.Declare[evModuleLoadFailed](event.Kind{Name: "module_load_failed", Level: event.Warn,
	Meaning: "The module could not be loaded. The daemon ends with an error, or waits if wait_for_module is set.",
	Advice: "Load it yourself (`modprobe openvswitch`) or configure modules-load.d; the service may not load modules. " +
		"`error` says what failed.",
})

type evModuleWaiting struct {
	event.Base
	Module string        `event:"module"`
	Waited time.Duration `event:"waited_s" means:"since the wait began"`
}

var _ = event.Declare[evModuleWaiting](event.Kind{Name: "module_waiting", Level: event.Warn,
	Meaning: "The daemon waits for the module to be loaded (wait_for_module). Said at first and then once a minute.",
	Advice:  "As for module_load_failed. The daemon goes on when the module is there.",
})

type evDatapathOpened struct {
	event.OfDatapath
	Index   int32  `event:"dp_index" means:"the kernel's number of the datapath: the index of its local port's device"`
	Created bool   `event:"created"`
	Flows   uint64 `event:"flows"`
	Hit     uint64 `event:"hit"`
	Missed  uint64 `event:"missed"`
	Lost    uint64 `event:"lost"`
}

var _ = event.Declare[evDatapathOpened](event.Kind{Name: "datapath_opened", Level: event.Info,
	Meaning: "The datapath was found, or created if `created` is true. The counters are the kernel's, since the " +
		"datapath was made.",
})

type evDatapathGone struct {
	event.OfDatapath
	Err    error `event:"error"`
	Create bool  `event:"create" means:"true if the daemon may make it"`
}

var _ = event.Declare[evDatapathGone](event.Kind{Name: "datapath_gone", Level: event.Error,
	Meaning: "The datapath was deleted, or the module removed, while it was served. With `create` the datapath is " +
		"created anew, else it is waited for; so is the module. `hit`, `missed` and `lost` of `stats` begin " +
		"anew, the other totals go on.",
	Advice: "Find who deleted it (a del-dp command, rmmod); without `create` make it anew.",
})

type evReady struct {
	event.OfDatapath
	Policy       string        `event:"policy"`
	Handlers     int           `event:"handlers"`
	Ports        int           `event:"ports"`
	PortsWaiting int           `event:"ports_waiting" means:"configured ports that cannot be attached now"`
	Startup      time.Duration `event:"startup_ms" means:"from the start until ready"`
}

var _ = event.Declare[evReady](event.Kind{Name: "ready", Level: event.Info,
	Meaning: "Every configured port that exists is served.",
})

type evStopping struct {
	event.OfDatapath
	Reason string `event:"reason"`
}

var _ = event.Declare[evStopping](event.Kind{Name: "stopping", Level: event.Info,
	Meaning: "A signal asked the daemon to stop. Upcalls are turned off, then what is queued is answered.",
})

type evWatchdogWithheld struct {
	event.OfDatapath
	Late     string        `event:"late" means:"names of goroutines, separated by commas"`
	LateFor  time.Duration `event:"late_ms" means:"since they last made a round"`
	Watchdog time.Duration `event:"watchdog_ms" means:"after which the service manager acts"`
}

var _ = event.Declare[evWatchdogWithheld](event.Kind{Name: "watchdog_withheld", Level: event.Error,
	Meaning: "The service manager's watchdog was not fed when it was time to, because the goroutines named in `late` " +
		"(handlers, port poll, revalidator) made no round since the last time, `late_ms` ago. If that goes on " +
		"for `watchdog_ms` the manager kills and restarts the daemon. Said once for each time it is late.",
	Advice: "Nothing if the daemon catches up. If the manager kills it, keep the goroutine dump in the journal " +
		"(SIGABRT) and report it with `late`.",
})

type evLostWhileDown struct {
	event.OfDatapath
	Lost   uint64        `event:"lost"`
	Missed uint64        `event:"missed"`
	Down   time.Duration `event:"down_ms" means:"from the last look of the daemon before to the start of this one"`
}

var _ = event.Declare[evLostWhileDown](event.Kind{Name: "lost_while_down", Level: event.Warn,
	Meaning: "The datapath counted lost upcalls between the last look of the daemon before and the start of this " +
		"one: nobody listened, or sockets that were handed over were full. Flows that were installed kept " +
		"forwarding. Of the `missed` packets, those that are not `lost` were answered before the former daemon " +
		"ended, wait in the sockets handed over, or were queued on sockets that ended with it.",
	Advice: "Restart with SIGUSR2 or through the service manager's store of descriptors, which loses nothing; see " +
		"socket_not_kept. After a crash, look for its cause.",
})

type evCheckpointFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evCheckpointFailed](event.Kind{Name: "checkpoint_failed", Level: event.Warn,
	Meaning: "Counters and MACs could not be left to the next daemon of this datapath, or taken over, in /run/dpifd: " +
		"it will not know what was lost in between. Said once.",
	Advice: "See that /run/dpifd exists and is the daemon's (RuntimeDirectory of the service).",
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
	Meaning: "What on_exit asks for could not be done.",
	Advice:  "Do by hand what `on_exit` asked for: `dpifd del-flows DP --yes` or `dpifd del-dp DP --yes`.",
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
	Meaning: "The daemon has stopped; totals since start.",
})

type evFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evFailed](event.Kind{Name: "failed", Level: event.Error,
	Meaning: "The daemon ends with an error, also when the configuration cannot be used at start: then `datapath` is " +
		"empty if the file does not tell it.",
	Advice: "Act on `error`; the service manager starts the daemon again. Flows in the kernel go on meanwhile, new " +
		"ones are lost.",
})
