package upcall

import "dpifd/internal/event"

// TXRingGivenUp reports that the kernel does not send from a handler's TX ring.
type TXRingGivenUp struct {
	event.OfDatapath
	Handler int   `event:"handler"`
	Err     error `event:"error"`
}

var _ = event.Declare[TXRingGivenUp](event.Kind{Name: "tx_ring_given_up", Level: event.Warn,
	Meaning: "The kernel does not send from the TX ring of a handler. The handler uses sendmsg from now on; no " +
		"request was lost.",
	Advice: "Nothing: the kernel does not support it (Linux 4.1). Leave `ring.tx` at its default, off.",
})
