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
	Meaning: "A flow of flows.static is in the datapath: for the first time, or again.",
})

// StaticFlowRemoved says that a static flow was deleted.
type StaticFlowRemoved struct {
	event.OfDatapath
	Match string    `event:"match"`
	UFID  dpif.UFID `event:"ufid"`
}

var _ = event.Declare[StaticFlowRemoved](event.Kind{Name: "static_flow_removed", Level: event.Info,
	Meaning: "A static flow was deleted: it is not configured any more, or one of its ports has gone.",
})

// StaticFlowWaiting says that a static flow waits for a port.
type StaticFlowWaiting struct {
	event.OfDatapath
	Match   string `event:"match"`
	Missing string `event:"port"`
}

var _ = event.Declare[StaticFlowWaiting](event.Kind{Name: "static_flow_waiting", Level: event.Warn,
	Meaning: "A static flow names a port that the datapath does not have. It is installed when the port comes.",
	Advice:  "See why the datapath lacks `port` (port_waiting), or correct the name in `flows.static`.",
})

// StaticFlowRestored says that somebody had deleted or changed a static flow.
type StaticFlowRestored struct {
	event.OfDatapath
	Match string    `event:"match"`
	UFID  dpif.UFID `event:"ufid"`
	Cause string    `event:"cause"`
}

var _ = event.Declare[StaticFlowRestored](event.Kind{Name: "static_flow_restored", Level: event.Warn,
	Meaning: "Another program had deleted or changed a static flow (`cause`: deleted, changed). It is installed " +
		"again, or given its actions back.",
	Advice: "Find the program that deletes or changes flows of this datapath (ovs-dpctl del-flows) and stop it.",
})

// StaticFlowFailed says that the kernel refuses a static flow.
type StaticFlowFailed struct {
	event.OfDatapath
	Match   string `event:"match"`
	Actions string `event:"actions"`
	Err     error  `event:"error"`
}

var _ = event.Declare[StaticFlowFailed](event.Kind{Name: "static_flow_failed", Level: event.Error,
	Meaning: "The kernel refuses a static flow. It is tried again after 1 s, then later each time, every 20 s at last; and this is said again " +
		"when the error changes.",
	Advice: "Act on `error`. EINVAL: the kernel does not know a field or an action of the flow (see dmesg); EEXIST: " +
		"another program's flow overlaps it.",
})

// MetersUnusable says that the kernel does not take the policy's meters.
type MetersUnusable struct {
	event.OfDatapath
	Meters int   `event:"meters" means:"meters that the configuration asks for"`
	Err    error `event:"error"`
}

var _ = event.Declare[MetersUnusable](event.Kind{Name: "storm_control_off", Level: event.Warn,
	Meaning: "The kernel does not take the meters that ports[].storm asks for (it has none before Linux 4.18 that " +
		"work), or refused one. Floods are not limited. Except on kernels without meters it is tried again, after 1 s at first and " +
		"every 20 s at last.",
	Advice: "Take `ports[].storm` out of the configuration, or run a kernel with meters.",
})

// MeterRestored says that another program had deleted a meter.
type MeterRestored struct {
	event.OfDatapath
	Meter uint32 `event:"meter" means:"number of the meter"`
}

var _ = event.Declare[MeterRestored](event.Kind{Name: "meter_restored", Level: event.Warn,
	Meaning: "Another program had deleted a meter that ports[].storm asks for. It is there again. Meters are compared every " +
		"10 s; until then floods were not limited.",
	Advice: "Find the program that deletes meters of this datapath and stop it.",
})
