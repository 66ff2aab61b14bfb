package portdevice

import (
	"dpifd/internal/event"
	"dpifd/internal/odp"
)

// DeviceCreated says that the device of a tunnel was created.
type DeviceCreated struct {
	event.OfDatapath
	Device string `event:"device"`
	Kind   string `event:"kind"`
}

var _ = event.Declare[DeviceCreated](event.Kind{Name: "device_created", Level: event.Info,
	Meaning: "dpifd created the network device of a tunnel. All tunnels of the same kind and UDP port share it.",
})

// DeviceRemoved says that a device that dpifd had created was removed.
type DeviceRemoved struct {
	event.OfDatapath
	Device string `event:"device"`
	Kind   string `event:"kind"`
}

var _ = event.Declare[DeviceRemoved](event.Kind{Name: "device_removed", Level: event.Info,
	Meaning: "dpifd removed a network device that it had created: no tunnel port needs it now, or the datapath " +
		"was deleted at exit.",
})

// PortElsewhere says that the device of an internal port is in another network namespace, where it is not set up.
type PortElsewhere struct {
	event.OfDatapath
	Name   string     `event:"port"`
	No     odp.PortNo `event:"port_no"`
	Device string     `event:"device"`
	Netns  int32      `event:"netns_id" means:"id of the network namespace (ip netns list-id)"`
}

var _ = event.Declare[PortElsewhere](event.Kind{Name: "port_elsewhere", Level: event.Info,
	Meaning: "An internal port is in another network namespace, which has no name in /run/netns or which dpifd may " +
		"not enter (CAP_SYS_ADMIN). dpifd serves it, but does not set the MAC, address, MTU and state of its device. " +
		"Logged once for each namespace.",
})

// PortHasAddresses warns about a port whose device has IP addresses.
type PortHasAddresses struct {
	event.OfDatapath
	Name      string     `event:"port"`
	No        odp.PortNo `event:"port_no"`
	Addresses []string   `event:"addresses" means:"list of IP addresses"`
}

var _ = event.Declare[PortHasAddresses](event.Kind{Name: "port_has_addresses", Level: event.Warn,
	Meaning: "The device of a port has IP addresses. The datapath receives all packets that arrive on the device, " +
		"so the host does not answer on these addresses.",
	Advice: "Move the addresses to an internal port or to the local port (`address` in `ports`); see " +
		"docs/CONFIGURATION.md, Addresses of the host.",
})
