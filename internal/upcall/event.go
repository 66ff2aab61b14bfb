package upcall

import "dpifd/internal/event"

// TXRingGivenUp says that the kernel does not send from a handler's TX ring.
type TXRingGivenUp struct {
	event.OfDatapath
	Handler int   `event:"handler"`
	Err     error `event:"error"`
}

var _ = event.Declare[TXRingGivenUp](event.Kind{Name: "tx_ring_given_up", Level: event.Warn,
	Meaning: "The kernel does not send from a handler's TX ring. Requests go by ordinary calls for good; none was " +
		"lost.",
	Advice: "Nothing: the kernel cannot do it (Linux 4.1). Leave `ring.tx` at its default, off.",
})
