package revalidator

import (
	"time"

	"dpifd/internal/event"
)

// FlowsAdopted reports the number of flows found in the datapath at start.
type FlowsAdopted struct {
	event.OfDatapath
	Flows int `event:"flows"`
}

var _ = event.Declare[FlowsAdopted](event.Kind{Name: "flows_adopted", Level: event.Info,
	Meaning: "dpifd found flows in the datapath at start and keeps them. It corrects those that the policy would " +
		"not install within one revalidator cycle.",
	Advice: "Nothing.",
})

// FlowLimitChanged reports that the limit was adapted to the duration of a dump.
type FlowLimitChanged struct {
	event.OfDatapath
	From  int    `event:"from"`
	To    int    `event:"to"`
	Cause string `event:"cause"`
}

var _ = event.Declare[FlowLimitChanged](event.Kind{Name: "flow_limit_changed", Level: event.Info,
	Meaning: "dpifd adapted the flow limit to the time that a dump of all flows takes: down above 1.3 s, up below 1 " +
		"s (in proportion to flows.max_dump if that is not 1s). Or flows.limit was lowered (cause configured). An " +
		"increase is logged at most every 10 s.",
	Advice: "Nothing. If `to` stays low, the machine is too slow for so many flows: see `revalidator_dump_ms` of " +
		"stats.",
})

// FlowLimitReached says that flows are no longer installed.
type FlowLimitReached struct {
	event.OfDatapath
	Flows int `event:"flows"`
	Limit int `event:"limit"`
}

var _ = event.Declare[FlowLimitReached](event.Kind{Name: "flow_limit_reached", Level: event.Warn,
	Meaning: "The datapath holds as many flows as allowed: flows.limit, or fewer while dumps are slow or not yet " +
		"known to be fast. dpifd installs no more flows; further packets are forwarded through upcalls.",
	Advice: "Raise `flows.limit` or lower `flows.max_idle`. If one port causes it (`upcalls` of port_stats), limit " +
		"that port with `ports[].max_upcalls`.",
})

// FlowLimitCleared says that flows are installed again.
type FlowLimitCleared struct {
	event.OfDatapath
	Flows int `event:"flows"`
	Limit int `event:"limit"`
}

var _ = event.Declare[FlowLimitCleared](event.Kind{Name: "flow_limit_cleared", Level: event.Info,
	Meaning: "The number of flows is below the limit again, and dpifd installs flows.",
})

// CycleFailed reports that a cycle failed. The next one tries again.
type CycleFailed struct {
	event.OfDatapath
	Err error         `event:"error"`
	At  time.Duration `event:"after_ms" means:"time since the start of the cycle"`
}

var _ = event.Declare[CycleFailed](event.Kind{Name: "revalidator_failed", Level: event.Error,
	Meaning: "A revalidator cycle failed. The next cycle tries again.",
	Advice:  "Nothing if rare. If it repeats, act on `error`.",
})
