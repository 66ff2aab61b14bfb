package daemon

import (
	"dpifd/internal/event"
)

type evControlListening struct {
	event.Base
	Socket     string `event:"socket"`
	Group      string `event:"group" means:"group that may connect"`
	GroupError string `event:"group_error" means:"why the group of the socket could not be set; empty if it was set"`
}

var _ = event.Declare[evControlListening](event.Kind{Name: "control_listening", Level: event.Info,
	Meaning: "The daemon accepts commands on this socket. If the group could not be set, `group_error` says why, " +
		"and only the owner and the group of the process may connect.",
	Advice: "Nothing. With a `group_error`, create the group, set `control.group`, or run the commands as root.",
})

type evControlUnavailable struct {
	event.Base
	Socket string `event:"socket"`
	Err    error  `event:"error"`
}

var _ = event.Declare[evControlUnavailable](event.Kind{Name: "control_unavailable", Level: event.Warn,
	Meaning: "The control socket could not be opened. The daemon works without it.",
	Advice: "Act on `error`: another daemon may serve the same datapath, or the directory may be missing " +
		"(RuntimeDirectory of the service). Then restart.",
})

type evControlConnected struct {
	event.Base
	PID      int    `event:"pid"`
	UID      uint32 `event:"uid"`
	GID      uint32 `event:"gid" means:"group id of a process"`
	HeldBack uint64 `event:"held_back"`
}

var _ = event.Declare[evControlConnected](event.Kind{Name: "control_connected", Level: event.Debug,
	Meaning: "A process connected to the control socket. Logged at most once a second after a burst of ten; " +
		"`held_back` counts the events left out before this one.",
})

type evMACsFlushed struct {
	event.OfDatapath
	Port string `event:"port"`
	VLAN int    `event:"vlan" means:"802.1Q identifier, 0 untagged; -1 for any in macs_flushed"`
	MACs int    `event:"macs"`
	PID  int    `event:"pid"`
	UID  uint32 `event:"uid"`
}

var _ = event.Declare[evMACsFlushed](event.Kind{Name: "macs_flushed", Level: event.Info,
	Meaning: "A client of the control socket removed `macs` learned MACs, of one port and VLAN or of any.",
})

type evControlError struct {
	event.Base
	Err      error  `event:"error"`
	HeldBack uint64 `event:"held_back"`
}

var _ = event.Declare[evControlError](event.Kind{Name: "control_error", Level: event.Warn,
	Meaning: "The control socket could not serve a client. Rate-limited like control_connected.",
	Advice:  "Nothing if rare. If it repeats, control_connected (level debug) shows which process connects.",
})

type evCPULimitChanged struct {
	event.OfDatapath
	CPUs     int `event:"cpu_limit" means:"CPUs that the process may use"`
	Before   int `event:"cpu_limit_before" means:"the same before the change"`
	Handlers int `event:"handlers"`
}

var _ = event.Declare[evCPULimitChanged](event.Kind{Name: "cpu_limit_changed", Level: event.Info,
	Meaning: "The number of CPUs that the process may use has changed: its affinity or the CPU quota of its cgroup. " +
		"The number of handlers stays the same until a restart.",
	Advice: "Restart dpifd if `handlers` differs much from `cpu_limit`; `systemctl restart` keeps the upcall " +
		"queues.",
})
