package policyswitch

import (
	"time"

	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// PortUnlisted says that a vport without an entry carries nothing.
type PortUnlisted struct {
	event.OfDatapath
	Name string     `event:"port"`
	No   odp.PortNo `event:"port_no"`
}

var _ = event.Declare[PortUnlisted](event.Kind{Name: "port_unlisted", Level: event.Warn,
	Meaning: "A vport of the datapath has no entry in `ports`, so nothing is forwarded from or to it " +
		"(`ports_unlisted: drop`, the default in a file that sets vlan, isolated, mirror_to or a limit for any " +
		"port; with vlan the local port is in VLAN 0 instead).",
	Advice: "Add an entry for the port, remove the port from the datapath, or set `ports_unlisted: serve` if it may " +
		"reach all VLANs.",
})

// MACFlapping says that a MAC moves back and forth between ports.
type MACFlapping struct {
	event.OfDatapath
	MAC      odp.MAC       `event:"mac" means:"MAC of a station"`
	VLAN     int           `event:"vlan"`
	Between  []string      `event:"between" means:"names of the ports, 4 at most"`
	Moves    uint64        `event:"moves" means:"times that the MAC changed its port"`
	Over     time.Duration `event:"over_ms" means:"time from the first move counted to the last"`
	HeldBack int           `event:"held_back"`
}

var _ = event.Declare[MACFlapping](event.Kind{Name: "mac_flapping", Level: event.Warn,
	Meaning: "A MAC moved back and forth between ports, at least 3 times within 10 s. Frames of one station come in at " +
		"several ports, as they do in a loop. Logged at most once in 10 s for each MAC, and for the 4 MACs a second that " +
		"move most; `held_back` counts the other MACs.",
	Advice: "Look for a loop between the ports of `between` (two of them connected outside of the switch), or for " +
		"one MAC at two places: bonded links without LACP, a cloned machine. See docs/FORWARDING.md, Loops.",
})
