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
	Back   string     `event:"back_port" means:"name of the port that the probe came back by; empty if it has gone"`
	BackNo odp.PortNo `event:"back_port_no" means:"its number"`
	VLAN   int        `event:"vlan"`
}

var _ = event.Declare[LoopDetected](event.Kind{Name: "loop_detected", Level: event.Warn,
	Meaning: "A probe that was sent out of `port` came back by `back_port`: outside of the switch they are connected, " +
		"or behind the port is a loop if both are the same. At most one every 10 s for each pair of ports.",
	Advice: "Follow the cables from both ports and take one out. See docs/FORWARDING.md, Loops.",
})

// PortBlocked says that a port was closed.
type PortBlocked struct {
	event.OfDatapath
	Port   string        `event:"port"`
	PortNo odp.PortNo    `event:"port_no"`
	For    time.Duration `event:"for_ms" means:"time until the port is opened again"`
}

var _ = event.Declare[PortBlocked](event.Kind{Name: "port_blocked", Level: event.Warn,
	Meaning: "A port is closed because of a loop (loop_guard: block): it forwards nothing, in either direction, for " +
		"`for_ms`. Each time that the loop is still there the time doubles, up to 10 minutes.",
	Advice: "Remove the loop that loop_detected tells of. The port is opened by itself.",
})

// PortOpened says that a port that was closed is open again.
type PortOpened struct {
	event.OfDatapath
	Port   string     `event:"port"`
	PortNo odp.PortNo `event:"port_no"`
}

var _ = event.Declare[PortOpened](event.Kind{Name: "port_opened", Level: event.Info,
	Meaning: "A port that was closed because of a loop is open again: its time is over, or its " +
		"`loop_guard` is no longer `block`.",
})
