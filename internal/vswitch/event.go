package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
)

// HandlerStarted reports how a handler sends its requests, and why.
type HandlerStarted struct {
	event.OfDatapath
	Handler   int               `event:"handler"`
	Transport netlink.Transport `event:"transport"`
	Reason    string            `event:"reason"`
}

var _ = event.Declare[HandlerStarted](event.Kind{Name: "handler_started", Level: event.Info,
	Meaning: "How a handler sends its requests, and why.",
})

// FeaturesRestored reports that another program had changed the datapath's user features.
type FeaturesRestored struct {
	event.OfDatapath
	Found    dpif.Features `event:"found" means:"features found"`
	Kept     dpif.Features `event:"kept"`
	HeldBack uint64        `event:"held_back"`
}

var _ = event.Declare[FeaturesRestored](event.Kind{Name: "features_restored", Level: event.Warn,
	Meaning: "Another program changed the user features of the datapath (`ovs-dpctl show` does), and dpifd restored " +
		"them. Upcalls may have been lost meanwhile. Logged at most every 10 s after a burst of five; after a " +
		"hundred changes in a row dpifd restores them once a second only.",
	Advice: "Do not run ovs-dpctl on this host. `dpifd show` and `dpifd dump-flows` change nothing.",
})

// NotifierOverflow reports that notifications were lost; everything is listed again.
type NotifierOverflow struct {
	event.OfDatapath
	Source string `event:"source" means:"which notifications: ovs or link"`
}

var _ = event.Declare[NotifierOverflow](event.Kind{Name: "notifier_overflow", Level: event.Warn,
	Meaning: "Notifications of the kernel were lost, so dpifd listed ports and features again. `source` is ovs or " +
		"link.",
	Advice: "Nothing if rare. If it repeats, find the program that keeps creating and deleting devices.",
})
