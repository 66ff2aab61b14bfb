package reconciler

import (
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// PortAdded says that a vport is served.
type PortAdded struct {
	event.OfDatapath
	Name      string         `event:"port"`
	No        odp.PortNo     `event:"port_no"`
	Type      dpif.VportType `event:"type"`
	Handler   int            `event:"handler"`
	UpcallPID uint32         `event:"upcall_pid"`
	Created   bool           `event:"created"`
}

var _ = event.Declare[PortAdded](event.Kind{Name: "port_added", Level: event.Info,
	Meaning: "dpifd serves a vport. `created`: dpifd attached it; else it was in the datapath already. With per-CPU " +
		"dispatch `handler` is -1 and `upcall_pid` 0.",
})

// PortRemoved says that a vport is gone.
type PortRemoved struct {
	event.OfDatapath
	Name     string     `event:"port"`
	No       odp.PortNo `event:"port_no"`
	Upcalls  uint64     `event:"upcalls"`
	Executed uint64     `event:"executed"`
	Lost     uint64     `event:"lost"`
}

var _ = event.Declare[PortRemoved](event.Kind{Name: "port_removed", Level: event.Info,
	Meaning: "A vport was removed, or its number now belongs to another device. The counters are since it was " +
		"added.",
})

// PortRenamed says that a port's device has another name now.
type PortRenamed struct {
	event.OfDatapath
	Name string     `event:"port"`
	No   odp.PortNo `event:"port_no"`
	Was  string     `event:"was"`
}

var _ = event.Declare[PortRenamed](event.Kind{Name: "port_renamed", Level: event.Info,
	Meaning: "The device of a port was renamed. dpifd serves it as before; if a configured port had the old name, " +
		"dpifd waits for a device of that name.",
})

// PortWaiting says that a configured port cannot be attached now.
type PortWaiting struct {
	event.OfDatapath
	Name string `event:"port"`
	Err  error  `event:"error"`
}

var _ = event.Declare[PortWaiting](event.Kind{Name: "port_waiting", Level: event.Warn,
	Meaning: "A configured port cannot be attached now. dpifd tries again when its device appears or the datapath " +
		"changes.",
	Advice: "Check that the device exists and belongs to no other bridge or bond (`ip link show`), or remove the " +
		"port from the configuration.",
})

// PortSetupFailed says that a port is served, but its device is not set up as configured.
type PortSetupFailed struct {
	event.OfDatapath
	Name string `event:"port"`
	Err  error  `event:"error"`
}

var _ = event.Declare[PortSetupFailed](event.Kind{Name: "port_setup_failed", Level: event.Error,
	Meaning: "dpifd serves a configured internal port, but could not set the address, MTU or state of its device. " +
		"It tries again at the next change of ports.",
	Advice: "Act on `error`, then reload.",
})

// DeviceSweepFailed says that devices of ports that are no longer configured could not be
// removed.
type DeviceSweepFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[DeviceSweepFailed](event.Kind{Name: "device_removal_failed", Level: event.Error,
	Meaning: "Network devices that dpifd created, and that no port needs now, could not be removed.",
	Advice:  "Remove the device by hand (`ip link delete DEVICE`).",
})

// PortFailed says that a vport of the datapath could not be served.
type PortFailed struct {
	event.OfDatapath
	Name string     `event:"port"`
	No   odp.PortNo `event:"port_no"`
	Err  error      `event:"error"`
}

var _ = event.Declare[PortFailed](event.Kind{Name: "port_failed", Level: event.Error,
	Meaning: "A vport of the datapath cannot be served: packets of its new flows are lost. dpifd tries again at the " +
		"next change of ports.",
	Advice: "Act on `error`, then reload.",
})

// TransportSelected says how a port's upcalls are received.
type TransportSelected struct {
	event.OfDatapath
	Name      string            `event:"port"`
	No        odp.PortNo        `event:"port_no"`
	Transport netlink.Transport `event:"transport"`
	Reason    string            `event:"reason"`
	RcvBuf    int               `event:"rcvbuf_bytes"`
	RingBytes uint64            `event:"ring_bytes"`
}

var _ = event.Declare[TransportSelected](event.Kind{Name: "transport_selected", Level: event.Info,
	Meaning: "How dpifd receives the upcalls of a port, and why.",
})

// UpcallPIDRestored says that another program had changed a vport's upcall PIDs.
type UpcallPIDRestored struct {
	event.OfDatapath
	Name     string     `event:"port"`
	No       odp.PortNo `event:"port_no"`
	Found    []uint32   `event:"found_pids" means:"list of netlink port ids that the kernel had"`
	PID      uint32     `event:"upcall_pid"`
	HeldBack uint64     `event:"held_back"`
}

var _ = event.Declare[UpcallPIDRestored](event.Kind{Name: "upcall_pid_restored", Level: event.Warn,
	Meaning: "Another program changed the upcall PIDs of a vport, and dpifd restored them. Upcalls may have gone to " +
		"that program. Logged at most every 10 s for each port after a burst of five; after a hundred changes in a " +
		"row dpifd restores them once a second only.",
	Advice: "Find the program that serves the same datapath (ovs-vswitchd, ovs-dpctl) and stop it: two programs " +
		"cannot serve one datapath.",
})
