package upcall

import (
	"fmt"
	"sync/atomic"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Socket is an upcall socket. Only the handler that owns it receives from it and closes it.
type Socket struct {
	*netlink.Receiver
	port   *Port // whose upcalls arrive here
	shared bool  // upcalls of all ports arrive here; port counts those without a port

	// Of the owner's goroutine.
	slot      uint32 // place in the handler's table, the id of its epoll events
	ready     bool   // it is in the list of ready sockets
	congested bool   // it overflowed and must be polled when it is empty
	behind    bool   // its last receive used up the quota: there may be more
	age       queueAge

	drops atomic.Uint64 // as last read; 0 if the kernel does not report it
}

// NewSocket makes r the socket of port, which has none yet.
func NewSocket(r *netlink.Receiver, port *Port) *Socket {
	// After an overrun in the previous process, the kernel may use no COPY frames before a
	// poll.
	s := &Socket{Receiver: r, port: port, congested: r.TakenOver()}
	port.socket = s
	return s
}

// NewSharedSocket makes r the socket of a handler, which gets upcalls of all ports.
func NewSharedSocket(r *netlink.Receiver, handler int) *Socket {
	s := NewSocket(r, NewPort(odp.MaxPorts, fmt.Sprintf("handler %d", handler), 0))
	s.shared = true
	return s
}

// Port returns the port whose upcalls arrive on the socket. The port of a shared socket counts
// upcalls without a port.
func (s *Socket) Port() *Port { return s.port }

// ReadDrops reads how many upcalls the kernel could not queue, if it reports that. Any
// goroutine may call it.
func (s *Socket) ReadDrops() {
	if m, err := s.MemInfo(); err == nil {
		s.addDrops(m.Drops)
	}
}

// SetDrops sets the number of drops from another source, unless more are known.
func (s *Socket) SetDrops(n uint64) {
	if n > s.drops.Load() {
		s.drops.Store(n)
	}
}

// addDrops adds the kernel's drop counter, which has 32 bits and wraps around. Several
// goroutines may read it; a late one changes nothing.
func (s *Socket) addDrops(drops uint32) {
	for old := s.drops.Load(); ; old = s.drops.Load() {
		grown := int32(drops - uint32(old))
		if grown <= 0 || s.drops.CompareAndSwap(old, old+uint64(grown)) {
			return
		}
	}
}
