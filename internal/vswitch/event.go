package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// HandlerStarted tells how a handler sends its requests, and why.
type HandlerStarted struct {
	event.OfDatapath
	Handler   int               `event:"handler"`
	Transport netlink.Transport `event:"transport"`
	Reason    string            `event:"reason"`
}

var _ = event.Declare[HandlerStarted](event.Kind{Name: "handler_started", Level: event.Info,
	Meaning: "How a handler sends its requests, and why.",
})

// FeaturesRestored says that somebody had changed the datapath's user features.
type FeaturesRestored struct {
	event.OfDatapath
	Found    dpif.Features `event:"found" means:"features found"`
	Kept     dpif.Features `event:"kept"`
	HeldBack uint64        `event:"held_back"`
}

var _ = event.Declare[FeaturesRestored](event.Kind{Name: "features_restored", Level: event.Warn,
	Meaning: "Another program had changed the datapath's user features (`ovs-dpctl show` does). Upcalls may have " +
		"been lost meanwhile. At most one in 10 s after five at once; after a hundred changes in a row they are " +
		"restored once a second.",
	Advice: "Do not run ovs-dpctl beside dpifd: `dpifd show` and `dpifd " +
		"dump-flows` change nothing.",
})

// NotifierOverflow says that notifications were lost; everything is listed anew.
type NotifierOverflow struct {
	event.OfDatapath
	Source string `event:"source" means:"which notifications: ovs or link"`
}

var _ = event.Declare[NotifierOverflow](event.Kind{Name: "notifier_overflow", Level: event.Warn,
	Meaning: "Notifications of the kernel were lost; ports and features were listed anew. `source` is ovs or link.",
	Advice:  "Nothing if rare. If it repeats, something makes and deletes devices all the time.",
})

// UpcallPIDRestored says that somebody had changed a vport's upcall PIDs.
type UpcallPIDRestored struct {
	event.OfDatapath
	Name     string     `event:"port"`
	No       odp.PortNo `event:"port_no"`
	Found    []uint32   `event:"found_pids" means:"list of netlink port ids that the kernel had"`
	PID      uint32     `event:"upcall_pid"`
	HeldBack uint64     `event:"held_back"`
}

var _ = event.Declare[UpcallPIDRestored](event.Kind{Name: "upcall_pid_restored", Level: event.Warn,
	Meaning: "Another program had changed where the kernel sends a vport's upcalls. Upcalls may have been lost to " +
		"it. At most one in 10 s for each port after five at once; after a hundred changes in a row PIDs are " +
		"restored once a second.",
	Advice: "Find the program that serves or lists the same datapath (ovs-vswitchd, ovs-dpctl) and stop it: two " +
		"cannot share one.",
})
