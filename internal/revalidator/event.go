package revalidator

import (
	"time"

	"dpifd/internal/event"
)

// FlowsAdopted tells how many flows were found in the datapath at start.
type FlowsAdopted struct {
	event.OfDatapath
	Flows int `event:"flows"`
}

var _ = event.Declare[FlowsAdopted](event.Kind{Name: "flows_adopted", Level: event.Info,
	Meaning: "Flows were found in the datapath and stay in force; those that the policy would not install are " +
		"corrected within a revalidator cycle.",
	Advice: "Nothing.",
})

// FlowLimitChanged says that the limit was adapted to the time that a dump of
// the flows takes.
type FlowLimitChanged struct {
	event.OfDatapath
	From  int    `event:"from"`
	To    int    `event:"to"`
	Cause string `event:"cause"`
}

var _ = event.Declare[FlowLimitChanged](event.Kind{Name: "flow_limit_changed", Level: event.Info,
	Meaning: "The number of flows allowed was adapted to the time that a dump of them takes: down when it takes over " +
		"1.3 s or 2 s, up while it takes less than 1 s (with flows.max_dump other than 1s in proportion to " +
		"that); or flows.limit was lowered below it (cause configured). Growth is said at most every 10 s.",
	Advice: "Nothing. If `to` stays low, the machine is too slow for that many flows: see `revalidator_dump_ms` of " +
		"stats.",
})

// FlowLimitReached says that flows are no longer installed.
type FlowLimitReached struct {
	event.OfDatapath
	Flows int `event:"flows"`
	Limit int `event:"limit"`
}

var _ = event.Declare[FlowLimitReached](event.Kind{Name: "flow_limit_reached", Level: event.Warn,
	Meaning: "The datapath holds as many flows as are allowed: flows.limit, or less while dumps are slow or have not " +
		"shown yet that they are fast. Packets are forwarded, each by way of an upcall, but no flow is added.",
	Advice: "Raise `flows.limit` or lower `flows.max_idle`, unless someone floods the switch: see `upcalls` of " +
		"port_stats for who it is.",
})

// FlowLimitCleared says that flows are installed again.
type FlowLimitCleared struct {
	event.OfDatapath
	Flows int `event:"flows"`
	Limit int `event:"limit"`
}

var _ = event.Declare[FlowLimitCleared](event.Kind{Name: "flow_limit_cleared", Level: event.Info,
	Meaning: "The datapath is below the limit again.",
})

// CycleFailed says that a cycle ended early. The next one tries again.
type CycleFailed struct {
	event.OfDatapath
	Err error         `event:"error"`
	At  time.Duration `event:"after_ms" means:"into the cycle"`
}

var _ = event.Declare[CycleFailed](event.Kind{Name: "revalidator_failed", Level: event.Error,
	Meaning: "A revalidator cycle ended early. The next one tries again.",
	Advice:  "Nothing if rare: the next cycle tries again. If it repeats, act on `error`.",
})
