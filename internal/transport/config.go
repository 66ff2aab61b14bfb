package transport

import (
	"dpifd/internal/event"
	"dpifd/internal/fdstore"
	"dpifd/internal/mmapring"
	"dpifd/internal/netlink"
)

// RingConfig configures the rings of sockets.
type RingConfig struct {
	Mode     mmapring.Mode     // "" is off
	TX       bool              // request sockets have TX rings if the kernel has them
	Geometry mmapring.Geometry // of each upcall socket's RX ring
	// MemoryLimit limits the rings of all sockets together, in bytes. It is checked before the
	// kernel is asked. Ports have priority over handlers: a handler gets a TX ring only if the
	// ring of a port still fits.
	MemoryLimit uint64
	// Kernel is nil except in tests.
	Kernel netlink.RingKernel
}

// DefaultRcvBuf is the default of Config.RcvBuf.
const DefaultRcvBuf = 16 << 20

// Config configures upcall sockets.
type Config struct {
	RcvBuf int // requested receive buffer of each upcall socket in bytes, 0 for DefaultRcvBuf
	Ring   RingConfig
	// Inherited are descriptors of upcall sockets that this process did not open. Sockets owns them
	// from New on, also after an error.
	Inherited []fdstore.Descriptor
	// Store keeps each upcall socket, so that it outlives the process; nil is none. The caller
	// closes it.
	Store *fdstore.Store
	// Notify is called with each event. It must not block for long.
	Notify event.Sink
}
