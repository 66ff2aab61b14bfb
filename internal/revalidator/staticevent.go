package revalidator

import (
	"dpifd/internal/dpif"
	"dpifd/internal/event"
)

// StaticFlowInstalled says that a static flow is in the datapath.
type StaticFlowInstalled struct {
	event.OfDatapath
	Match   string    `event:"match"`
	Actions string    `event:"actions"`
	UFID    dpif.UFID `event:"ufid"`
}

var _ = event.Declare[StaticFlowInstalled](event.Kind{Name: "static_flow_installed", Level: event.Info,
	Meaning: "A flow of flows.static was installed, for the first time or again.",
})

// StaticFlowRemoved says that a static flow was deleted.
type StaticFlowRemoved struct {
	event.OfDatapath
	Match string    `event:"match"`
	UFID  dpif.UFID `event:"ufid"`
}

var _ = event.Declare[StaticFlowRemoved](event.Kind{Name: "static_flow_removed", Level: event.Info,
	Meaning: "A static flow was deleted: it is no longer configured, or one of its ports was removed.",
})

// StaticFlowWaiting says that a static flow waits for a port.
type StaticFlowWaiting struct {
	event.OfDatapath
	Match   string `event:"match"`
	Missing string `event:"port"`
}

var _ = event.Declare[StaticFlowWaiting](event.Kind{Name: "static_flow_waiting", Level: event.Warn,
	Meaning: "A static flow names a port that the datapath does not have. dpifd installs the flow when the port is " +
		"added.",
	Advice: "Find out why the datapath has no `port` (port_waiting), or correct the name in `flows.static`.",
})

// StaticFlowRestored says that somebody had deleted or changed a static flow.
type StaticFlowRestored struct {
	event.OfDatapath
	Match string    `event:"match"`
	UFID  dpif.UFID `event:"ufid"`
	Cause string    `event:"cause"`
}

var _ = event.Declare[StaticFlowRestored](event.Kind{Name: "static_flow_restored", Level: event.Warn,
	Meaning: "Another program deleted or changed a static flow (`cause`: deleted, changed). dpifd installed it " +
		"again or restored its actions.",
	Advice: "Find the program that deletes or changes flows of this datapath (such as ovs-dpctl del-flows) and stop " +
		"it.",
})

// StaticFlowFailed says that the kernel refuses a static flow.
type StaticFlowFailed struct {
	event.OfDatapath
	Match   string `event:"match"`
	Actions string `event:"actions"`
	Err     error  `event:"error"`
}

var _ = event.Declare[StaticFlowFailed](event.Kind{Name: "static_flow_failed", Level: event.Error,
	Meaning: "The kernel refuses a static flow. dpifd tries again after 1 s, then at growing intervals of at most " +
		"20 s. Logged again when the error changes.",
	Advice: "Act on `error`. EINVAL: the kernel does not know a field or an action of the flow (see dmesg). EEXIST: " +
		"another program's flow overlaps it.",
})

// MetersUnusable says that the kernel does not accept the policy's meters.
type MetersUnusable struct {
	event.OfDatapath
	Meters int   `event:"meters" means:"meters that the configuration asks for"`
	Err    error `event:"error"`
}

var _ = event.Declare[MetersUnusable](event.Kind{Name: "storm_control_off", Level: event.Warn,
	Meaning: "The kernel refused the meters of ports[].storm, or has none that work (before Linux 4.18). Floods are " +
		"not limited. If the kernel has meters, dpifd tries again after 1 s, then at growing intervals of at most " +
		"20 s.",
	Advice: "Remove `ports[].storm` from the configuration, or run a kernel with meters.",
})

// MeterRestored says that another program had deleted a meter.
type MeterRestored struct {
	event.OfDatapath
	Meter uint32 `event:"meter" means:"number of the meter"`
}

var _ = event.Declare[MeterRestored](event.Kind{Name: "meter_restored", Level: event.Warn,
	Meaning: "Another program deleted a meter of ports[].storm. dpifd created it again. It compares meters every " +
		"second; until then floods were not limited.",
	Advice: "Find the program that deletes meters of this datapath and stop it.",
})

// StormLimited says that a meter drops packets.
type StormLimited struct {
	event.OfDatapath
	Port  string `event:"port"`
	Kind  string `event:"kind"`
	Lost  uint64 `event:"lost"`
	Limit int    `event:"limit"`
}

var _ = event.Declare[StormLimited](event.Kind{Name: "storm_limited", Level: event.Warn,
	Meaning: "Packets of a port were dropped by storm control: more of the kind came than `limit` a second " +
		"(ports[].storm). `lost` counts them since the last such event of the same port and kind; at most one " +
		"event every 10 s for each.",
	Advice: "Find out what sends that much: a loop (mac_flapping), a broken or malicious station. If the traffic " +
		"is wanted, raise the limit.",
})
