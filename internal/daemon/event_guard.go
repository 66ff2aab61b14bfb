package daemon

import (
	"dpifd/internal/event"
	"dpifd/internal/odp"
)

type evLockUnavailable struct {
	event.OfDatapath
	Err error `event:"error"`
}

var _ = event.Declare[evLockUnavailable](event.Kind{Name: "lock_unavailable", Level: event.Warn,
	Meaning: "The lock that keeps a second daemon from serving the same datapath could not be taken in /run/dpifd. " +
		"The daemon serves the datapath without it.",
	Advice: "See that /run/dpifd exists and is the daemon's (RuntimeDirectory of the service). Start no second daemon " +
		"for the datapath.",
})

type evLogDropped struct {
	event.OfDatapath
	Lines      uint64 `event:"lines" means:"lines of the log since it was last said"`
	LinesTotal uint64 `event:"lines_total" means:"lines of the log since start"`
}

var _ = event.Declare[evLogDropped](event.Kind{Name: "log_dropped", Level: event.Warn,
	Meaning: "Lines of the log were dropped because its reader stalled: forwarding does not wait for it. `lines` " +
		"counts those since this was last said.",
	Advice: "See why the log's reader is slow or stopped (journald, the container's log driver); lower `log.level` if " +
		"it is debug.",
})

type evDatapathRenamed struct {
	event.OfDatapath
	LocalPort string `event:"local_port" means:"name of the datapath's local port"`
	Index     int32  `event:"dp_index"`
}

var _ = event.Declare[evDatapathRenamed](event.Kind{Name: "datapath_renamed", Level: event.Warn,
	Meaning: "No datapath has the configured name, but the one that the daemon before served exists: its local port " +
		"was renamed to `local_port`. It is served on.",
	Advice: "Give the local port its name back (`ip link set LOCAL_PORT name DATAPATH`), or set `datapath.name` to the " +
		"new one.",
})

type evPortElsewhere struct {
	event.OfDatapath
	Name   string     `event:"port"`
	No     odp.PortNo `event:"port_no"`
	Device string     `event:"device"`
	Netns  int32      `event:"netns_id" means:"id of the network namespace (ip netns list-id)"`
}

var _ = event.Declare[evPortElsewhere](event.Kind{Name: "port_elsewhere", Level: event.Info,
	Meaning: "An internal port is in another network namespace. It is served, but address, MTU and state of its device " +
		"are left to who moved it.",
})

type evPortUnlisted struct {
	event.OfDatapath
	Name string     `event:"port"`
	No   odp.PortNo `event:"port_no"`
}

var _ = event.Declare[evPortUnlisted](event.Kind{Name: "port_unlisted", Level: event.Warn,
	Meaning: "A vport of the datapath has no entry in `ports`. It carries no traffic (ports_unlisted: drop, the default " +
		"in a file that sets vlan, isolated, mirror_to or a limit for any port; with vlan the local port is in VLAN 0 instead).",
	Advice: "Add an entry for the port, take the port off the datapath, or set `ports_unlisted: serve` if it may reach " +
		"all VLANs.",
})

type evPortHasAddresses struct {
	event.OfDatapath
	Name      string     `event:"port"`
	No        odp.PortNo `event:"port_no"`
	Addresses []string   `event:"addresses" means:"list of IP addresses"`
}

var _ = event.Declare[evPortHasAddresses](event.Kind{Name: "port_has_addresses", Level: event.Warn,
	Meaning: "The device of a port has IP addresses. The datapath takes all packets that come in there, so the host is not " +
		"reached at these addresses any more.",
	Advice: "Move the addresses to an internal port or to the local port (`address` in `ports`); see " +
		"docs/CONFIGURATION.md, Addresses of the host.",
})
