package daemon

import (
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/metric"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

type evReloaded struct {
	event.Base
	Config  string   `event:"config"`
	Changed []string `event:"changed" means:"list of top-level keys"`
}

var _ = event.Declare[evReloaded](event.Kind{Name: "reloaded", Level: event.Info,
	Meaning: "dpifd read the configuration file again (SIGHUP) and uses it. `changed` lists the top-level keys that " +
		"changed.",
})

type evReloadFailed struct {
	event.Base
	Config string `event:"config"`
	Err    error  `event:"error"`
}

var _ = event.Declare[evReloadFailed](event.Kind{Name: "reload_failed", Level: event.Error,
	Meaning: "dpifd read the configuration file again and found a mistake; `error` has file, line and column. The " +
		"previous configuration stays in force.",
	Advice: "Correct the file where `error` says (`dpifd check FILE`), then reload again.",
})

type evReloadIgnored struct {
	event.Base
	Config string   `event:"config"`
	Keys   []string `event:"keys" means:"list of keys"`
}

var _ = event.Declare[evReloadIgnored](event.Kind{Name: "reload_ignored", Level: event.Warn,
	Meaning: "The keys in `keys` changed in the file, but need a restart. They keep their previous values.",
	Advice:  "Restart the daemon to apply `keys`, or undo the change in the file.",
})

type evHandedOver struct {
	event.OfDatapath
	To            string `event:"to"`
	Sockets       int    `event:"sockets" means:"sockets left to the next process"`
	NotHandedOver int    `event:"not_handed_over" means:"sockets that were not handed over"`
}

var _ = event.Declare[evHandedOver](event.Kind{Name: "handed_over", Level: event.Info,
	Meaning: "The daemon exits to be replaced by its successor (SIGUSR2) and leaves it the upcall sockets, so that " +
		"upcalls wait in their queues. `to` is service_manager (the sockets are in its file descriptor store and it " +
		"starts the successor) or exec (the program is started again in this process). `not_handed_over` counts " +
		"ports whose socket is closed because it is not in the store.",
	Advice: "Nothing. If `not_handed_over` is above 0, the restart loses the queued upcalls of that many ports.",
})

type evRestartFailed struct {
	event.Base
	Err error `event:"error"`
}

var _ = event.Declare[evRestartFailed](event.Kind{Name: "restart_failed", Level: event.Error,
	Meaning: "The requested restart (SIGUSR2) did not happen because the program or the configuration file cannot " +
		"be used. The daemon continues unchanged.",
	Advice: "Act on `error`: check the new program and its configuration (`dpifd check FILE`), then request the " +
		"restart again.",
})

type evLogLevel struct {
	event.Base
	From string `event:"from"`
	To   string `event:"to"`
	PID  int    `event:"pid"`
	UID  uint32 `event:"uid"`
}

var _ = event.Declare[evLogLevel](event.Kind{Name: "log_level_changed", Level: event.Info,
	Meaning: "A client of the control socket changed the log level, until the next reload, change or start.",
	Advice:  "Nothing. Level debug writes a line for each upcall; `dpifd log-level info` sets it back.",
})

type evStateDaemon struct {
	event.OfDatapath
	PID        int           `event:"pid"`
	Uptime     time.Duration `event:"uptime_s"`
	Served     bool          `event:"served" means:"true if dpifd serves a datapath"`
	LogLevel   string        `event:"log_level" means:"lowest level that is logged"`
	Policy     string        `event:"policy"`
	Features   dpif.Features `event:"features" means:"user features of the datapath"`
	Handlers   int           `event:"handlers"`
	Goroutines int           `event:"goroutines"`
	Ports      int           `event:"ports"`
	Flows      uint64        `event:"flows"`
	FlowLimit  int64         `event:"flow_limit"`
	Masks      uint32        `event:"masks"`
	MACs       int           `event:"macs"`
	MACLimit   int           `event:"mac_limit" means:"maximum number of MACs"`
	RingBytes  uint64        `event:"ring_bytes"`
	LimitBytes uint64        `event:"limit_bytes"`
}

var _ = event.Declare[evStateDaemon](event.Kind{Name: "state_daemon", Level: event.Info,
	Meaning: "Answer to SIGUSR1: the state of the daemon. A state_port for each port and a state_config follow. " +
		"While there is no datapath, `served` is false and the counts are 0.",
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
	QueuedBytes uint32            `event:"queued_bytes" means:"memory of the messages that wait in the socket; 0 before Linux 4.12"`
	RingBytes   uint64            `event:"ring_bytes"`
	RingFrames  uint32            `event:"ring_frames"`
	RingUsed    uint32            `event:"ring_frames_used" means:"frames of the port's ring that are in use"`
	Drops       uint64            `event:"socket_drops"`
	MaxUpcalls  uint32            `event:"max_upcalls" means:"maximum upcalls per second; 0 is no limit"`
	MACs        int               `event:"macs"`
	upcallTimes
}

var _ = event.Declare[evStatePort](event.Kind{Name: "state_port", Level: event.Info,
	Meaning: "Answer to SIGUSR1: one port and its upcall socket. With per-CPU dispatch ports have no socket; the " +
		"sockets of the handlers come last, as ports `handler N` of type none. upcall_us covers all upcalls of the " +
		"port's handler since the start.",
})

// upcallTimes are upper bounds of upcall latencies.
type upcallTimes struct {
	P50  int64 `event:"upcall_us_p50"`
	P99  int64 `event:"upcall_us_p99"`
	P999 int64 `event:"upcall_us_p999"`
	Max  int64 `event:"upcall_us_max"`
}

func upcallTimesOf(d *metric.Distribution) upcallTimes {
	us := func(millionths uint64) int64 { return d.Quantile(millionths).Microseconds() }
	return upcallTimes{us(500_000), us(990_000), us(999_000), us(1_000_000)}
}

type evStateConfig struct {
	event.OfDatapath
	Config string   `event:"config"`
	Set    []string `event:"set" means:"list of --set flags, KEY=VALUE"`
	YAML   string   `event:"yaml" means:"text of the configuration"`
}

var _ = event.Declare[evStateConfig](event.Kind{Name: "state_config", Level: event.Info,
	Meaning: "Answer to SIGUSR1: the configuration in force, with every key, in the syntax of the file.",
})
