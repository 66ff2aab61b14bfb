package daemon

import (
	"time"

	"dpifd/internal/event"
	"dpifd/internal/odp"
)

type evMACFlapping struct {
	event.OfDatapath
	MAC      odp.MAC       `event:"mac" means:"MAC of a station"`
	VLAN     int           `event:"vlan"`
	Between  []string      `event:"between" means:"names of the ports, 4 at most"`
	Moves    uint64        `event:"moves" means:"times that the MAC changed its port"`
	Over     time.Duration `event:"over_ms" means:"time from the first move counted to the last"`
	HeldBack int           `event:"held_back"`
}

var _ = event.Declare[evMACFlapping](event.Kind{Name: "mac_flapping", Level: event.Warn,
	Meaning: "A MAC moves to and fro between ports: 3 times or more within 10 s, and back. Frames of one station come in " +
		"at several ports, as they do in a loop. At most one every 10 s for each MAC, and 4 a second, of the MACs that " +
		"move most; `held_back` counts other MACs that flap and are not told of now.",
	Advice: "Look for a loop between the ports of `between` (two of them connected outside of the switch), or for one MAC at two " +
		"places: bonded links without LACP, a cloned machine. See docs/FORWARDING.md, Loops.",
})

type evLoopGuardFailed struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evLoopGuardFailed](event.Kind{Name: "loop_guard_failed", Level: event.Warn,
	Meaning: "The kernel refused a probe of loop_guard. A loop at that port is not found; dpifd sends the next probe " +
		"after 2 s. Said once for each `error`.",
	Advice: "Act on `error`.",
})
