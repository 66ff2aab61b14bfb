package transport

import (
	"dpifd/internal/event"
	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
)

// RingConfig says which rings sockets have.
type RingConfig struct {
	Mode     mmapring.Mode     // "" is off
	TX       bool              // request sockets have TX rings where the kernel has them
	Geometry mmapring.Geometry // of each upcall socket's RX ring
	// MemoryLimit bounds the rings of all sockets together, in bytes. It is
	// kept before the kernel is asked. Ports come before handlers: one of these
	// has a TX ring only if a port's ring still fits.
	MemoryLimit uint64
	// Kernel is nil but in tests.
	Kernel netlink.RingKernel
}

// DefaultRcvBuf is Config.RcvBuf where that is zero.
const DefaultRcvBuf = 16 << 20

// Config says which upcall sockets there are.
type Config struct {
	RcvBuf int // bytes of receive buffer asked for each upcall socket, 0 for DefaultRcvBuf
	Ring   RingConfig
	// Inherited are descriptors of upcall sockets that this process did not open. They
	// are the Sockets' from New on, whatever it returns.
	Inherited []fdstore.Descriptor
	// Store is given each upcall socket to keep, so that it outlives the process; nil is
	// none. The caller closes it.
	Store *fdstore.Store
	// Notify is called with each event. It must not block for long.
	Notify event.Sink
}
