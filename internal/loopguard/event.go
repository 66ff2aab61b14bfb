package loopguard

import (
	"time"

	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// LoopDetected says that a probe came back.
type LoopDetected struct {
	event.OfDatapath
	Port   string     `event:"port"`
	PortNo odp.PortNo `event:"port_no"`
	Back   string     `event:"back_port" means:"name of the port through which the probe came back; empty if that port was removed"`
	BackNo odp.PortNo `event:"back_port_no" means:"its number"`
	VLAN   int        `event:"vlan"`
}

var _ = event.Declare[LoopDetected](event.Kind{Name: "loop_detected", Level: event.Warn,
	Meaning: "A probe that was sent out of `port` came back through `back_port`: the two ports are connected outside " +
		"of the switch. If both are the same, the loop is behind that port. At most one event every 10 s for each " +
		"pair of ports.",
	Advice: "Follow the cables from both ports and disconnect one. See docs/FORWARDING.md, Loops.",
})

// PortBlocked says that a port was blocked.
type PortBlocked struct {
	event.OfDatapath
	Port   string        `event:"port"`
	PortNo odp.PortNo    `event:"port_no"`
	For    time.Duration `event:"for_ms" means:"time until the port is unblocked"`
}

var _ = event.Declare[PortBlocked](event.Kind{Name: "port_blocked", Level: event.Warn,
	Meaning: "dpifd blocks a port because of a loop (loop_guard: block): nothing is forwarded from or to it for " +
		"`for_ms`. If the loop still exists then, dpifd blocks the port again for twice as long, at most 10 minutes.",
	Advice: "Remove the loop that loop_detected reports. dpifd unblocks the port after `for_ms`.",
})

// PortUnblocked says that a port is no longer blocked.
type PortUnblocked struct {
	event.OfDatapath
	Port   string     `event:"port"`
	PortNo odp.PortNo `event:"port_no"`
}

var _ = event.Declare[PortUnblocked](event.Kind{Name: "port_unblocked", Level: event.Info,
	Meaning: "A port that was blocked because of a loop forwards again: its time is over, or its `loop_guard` is " +
		"no longer `block`.",
})
