package daemon

import (
	"dpifd/internal/event"
)

type evLoopGuardFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evLoopGuardFailed](event.Kind{Name: "loop_guard_failed", Level: event.Warn,
	Meaning: "The kernel refused a probe of loop_guard. A loop at that port is not found; dpifd sends the next probe " +
		"after 2 s. Logged once for each `error`.",
	Advice: "Act on `error`.",
})
