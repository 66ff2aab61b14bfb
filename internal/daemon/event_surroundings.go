package daemon

import (
	"dpifd/internal/event"
)

type evDeviceCreated struct {
	event.OfDatapath
	Device string `event:"device"`
	Kind   string `event:"kind"`
}

var _ = event.Declare[evDeviceCreated](event.Kind{Name: "device_created", Level: event.Info,
	Meaning: "A tunnel's network device was made. All tunnels of its kind and UDP port share it.",
})

type evDeviceRemoved struct {
	event.OfDatapath
	Device string `event:"device"`
	Kind   string `event:"kind"`
}

var _ = event.Declare[evDeviceRemoved](event.Kind{Name: "device_removed", Level: event.Info,
	Meaning: "A network device that dpifd had made was removed: no tunnel port needs it any more, or the datapath " +
		"was deleted at exit.",
})

type evControlListening struct {
	event.Base
	Socket     string `event:"socket"`
	Group      string `event:"group" means:"group that may connect to it"`
	GroupError string `event:"group_error" means:"why the group could not be given the socket; empty if it was"`
}

var _ = event.Declare[evControlListening](event.Kind{Name: "control_listening", Level: event.Info,
	Meaning: "Commands reach the daemon by this socket. `group_error` says why the group could not be given it, so " +
		"that only the owner and the process's own group may connect; else it is empty.",
	Advice: "Nothing. With a `group_error`, create the group or set `control.group`, or use the commands as root.",
})

type evControlUnavailable struct {
	event.Base
	Socket string `event:"socket"`
	Err    error  `event:"error"`
}

var _ = event.Declare[evControlUnavailable](event.Kind{Name: "control_unavailable", Level: event.Warn,
	Meaning: "The control socket could not be opened. The daemon does its work without it.",
	Advice: "See `error`; another daemon may serve the same datapath, or the folder may be missing " +
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
	Meaning: "A process connected to the control socket. At most one a second, after ten at once; `held_back` is how " +
		"many were not said before this one.",
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
	Meaning: "A client of the control socket had learned MACs forgotten: `macs` of them, of one port and VLAN or of any.",
})

type evControlError struct {
	event.Base
	Err      error  `event:"error"`
	HeldBack uint64 `event:"held_back"`
}

var _ = event.Declare[evControlError](event.Kind{Name: "control_error", Level: event.Warn,
	Meaning: "The control socket could not serve a client. As often as control_connected.",
	Advice:  "Nothing if rare. If it repeats, see with control_connected which process asks.",
})

type evCPULimitChanged struct {
	event.OfDatapath
	CPUs     int `event:"cpu_limit" means:"CPUs that the process may use"`
	Before   int `event:"cpu_limit_before" means:"the same before the change"`
	Handlers int `event:"handlers"`
}

var _ = event.Declare[evCPULimitChanged](event.Kind{Name: "cpu_limit_changed", Level: event.Info,
	Meaning: "The number of CPUs that the process may use has changed, by its affinity or the CPU quota of its cgroup. " +
		"The number of handlers stays until a restart.",
	Advice: "Restart dpifd if `handlers` differs much from `cpu_limit`; no packet is lost by that.",
})
