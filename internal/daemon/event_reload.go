package daemon

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

type evReloaded struct {
	event.Base
	Config  string   `event:"config"`
	Changed []string `event:"changed" means:"list of top-level keys"`
}

var _ = event.Declare[evReloaded](event.Kind{Name: "reloaded", Level: event.Info,
	Meaning: "The configuration file was read again (SIGHUP) and is in force. `changed` lists the top-level keys " +
		"that differ from before.",
})

type evReloadFailed struct {
	event.Base
	Config string `event:"config"`
	Err    error  `event:"error"`
}

var _ = event.Declare[evReloadFailed](event.Kind{Name: "reload_failed", Level: event.Error,
	Meaning: "The configuration file was read again and cannot be used: file, line and column are in the error. The " +
		"one before stays in force, unchanged.",
	Advice: "Correct the file where `error` says (`dpifd check --config FILE`), reload again.",
})

type evReloadIgnored struct {
	event.Base
	Config string   `event:"config"`
	Keys   []string `event:"keys" means:"list of keys"`
}

var _ = event.Declare[evReloadIgnored](event.Kind{Name: "reload_ignored", Level: event.Warn,
	Meaning: "These keys were changed in the file, but take a restart. They keep their values.",
	Advice:  "Restart the daemon for the keys in `keys` to take effect, or take them back.",
})

type evHandedOver struct {
	event.OfDatapath
	To            string `event:"to"`
	Sockets       int    `event:"sockets" means:"sockets left to the next process"`
	NotHandedOver int    `event:"not_handed_over" means:"sockets that could not be"`
}

var _ = event.Declare[evHandedOver](event.Kind{Name: "handed_over", Level: event.Info,
	Meaning: "The daemon makes way for its successor (SIGUSR2) and leaves it the upcall sockets, so that upcalls " +
		"queue meanwhile. `to` is service_manager (its store of descriptors has them, and it starts the " +
		"successor) or exec (the program is started in this process). `not_handed_over` counts ports whose " +
		"socket ends here, because it is not in the store: their upcalls are turned off.",
	Advice: "Nothing; `not_handed_over` above 0 are ports whose queues the restart loses.",
})

type evRestartFailed struct {
	event.Base
	Err error `event:"error"`
}

var _ = event.Declare[evRestartFailed](event.Kind{Name: "restart_failed", Level: event.Error,
	Meaning: "The restart asked for (SIGUSR2) did not come about: the program or the configuration file cannot be " +
		"used. The daemon goes on as before.",
	Advice: "See `error`: the daemon goes on unchanged. Check the new program and its configuration (`dpifd " +
		"check`), then ask again.",
})

type evLogLevel struct {
	event.Base
	From string `event:"from"`
	To   string `event:"to"`
	PID  int    `event:"pid"`
	UID  uint32 `event:"uid"`
}

var _ = event.Declare[evLogLevel](event.Kind{Name: "log_level_changed", Level: event.Info,
	Meaning: "A client of the control socket changed the level of the log, until the next reload, change or start.",
	Advice:  "Nothing. Level debug writes a line for each upcall: take it back with `dpifd log-level info`.",
})

type evStateDaemon struct {
	event.OfDatapath
	PID        int           `event:"pid"`
	Uptime     time.Duration `event:"uptime_s"`
	Served     bool          `event:"served" means:"true if there is a datapath and it is served"`
	LogLevel   string        `event:"log_level" means:"least level that is logged"`
	Policy     string        `event:"policy"`
	Features   dpif.Features `event:"features" means:"user features of the datapath"`
	Handlers   int           `event:"handlers"`
	Goroutines int           `event:"goroutines"`
	Ports      int           `event:"ports"`
	Flows      uint64        `event:"flows"`
	FlowLimit  int64         `event:"flow_limit"`
	Masks      uint32        `event:"masks"`
	MACs       int           `event:"macs"`
	MACLimit   int           `event:"mac_limit" means:"MACs known at most"`
	RingBytes  uint64        `event:"ring_bytes"`
	LimitBytes uint64        `event:"limit_bytes"`
}

var _ = event.Declare[evStateDaemon](event.Kind{Name: "state_daemon", Level: event.Info,
	Meaning: "SIGUSR1 asked for the state: this of the daemon, then a state_port for each port and a state_config. " +
		"`served` is false while there is no datapath, and then the counts are 0.",
})

type evStatePort struct {
	event.OfDatapath
	Port        string            `event:"port"`
	No          odp.PortNo        `event:"port_no"`
	Type        dpif.VportType    `event:"type"`
	Handler     int               `event:"handler"`
	UpcallPID   uint32            `event:"upcall_pid"`
	Transport   netlink.Transport `event:"transport"`
	Reason      string            `event:"reason"`
	RcvBuf      int               `event:"rcvbuf_bytes"`
	QueuedBytes uint32            `event:"queued_bytes" means:"memory of what waits in the socket; 0 before Linux 4.12"`
	RingBytes   uint64            `event:"ring_bytes"`
	RingFrames  uint32            `event:"ring_frames"`
	RingUsed    uint32            `event:"ring_frames_used" means:"frames of the port's ring that are in use"`
	Drops       uint64            `event:"socket_drops"`
	MaxUpcalls  uint32            `event:"max_upcalls" means:"upcalls a second at most; 0 for no limit"`
	MACs        int               `event:"macs"`
}

var _ = event.Declare[evStatePort](event.Kind{Name: "state_port", Level: event.Info,
	Meaning: "SIGUSR1 asked for the state: one port and its upcall socket. Under per-CPU dispatch ports have no " +
		"socket, and those of handlers come last, as ports `handler N` of type none.",
})

type evStateConfig struct {
	event.OfDatapath
	Config string   `event:"config"`
	Set    []string `event:"set" means:"list of --set flags, KEY=VALUE"`
	YAML   string   `event:"yaml" means:"text of the configuration"`
}

var _ = event.Declare[evStateConfig](event.Kind{Name: "state_config", Level: event.Info,
	Meaning: "SIGUSR1 asked for the state: the configuration in force, each key of it, as a file would say it.",
})
