package upcall

import (
	"fmt"
	"sync/atomic"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Socket is an upcall socket. Once a handler owns it, that handler alone receives
// from it and closes it.
type Socket struct {
	*netlink.Receiver
	port   *Port // whose upcalls come here
	shared bool  // upcalls of all ports come here; port counts what belongs to none

	// Of the owner's goroutine.
	slot      uint32 // place in the handler's table, the id of its epoll events
	ready     bool   // it is in the list of ready sockets
	congested bool   // it overflowed and is to be polled once it is empty
	age       queueAge

	drops atomic.Uint64 // as last read; 0 where the kernel does not tell
}

// NewSocket makes r the socket of port, which has none yet.
func NewSocket(r *netlink.Receiver, port *Port) *Socket {
	// An overrun of the process before may keep the kernel from COPY frames until a poll.
	s := &Socket{Receiver: r, port: port, congested: r.TakenOver()}
	port.socket = s
	return s
}

// NewSharedSocket makes r the socket of a handler, which upcalls of all ports come to.
func NewSharedSocket(r *netlink.Receiver, handler int) *Socket {
	s := NewSocket(r, NewPort(odp.MaxPorts, fmt.Sprintf("handler %d", handler), 0))
	s.shared = true
	return s
}

// Port returns the port whose upcalls come to the socket. That of a shared socket
// counts what belongs to no port.
func (s *Socket) Port() *Port { return s.port }

// ReadDrops asks the kernel how many upcalls it could not queue, if it tells. Any
// goroutine may call it.
func (s *Socket) ReadDrops() {
	if m, err := s.MemInfo(); err == nil {
		s.addDrops(m.Drops)
	}
}

// SetDrops takes the number of drops from somewhere else, unless more are known.
func (s *Socket) SetDrops(n uint64) {
	if n > s.drops.Load() {
		s.drops.Store(n)
	}
}

// addDrops takes the kernel's count of drops, which is of 32 bits and wraps
// around. Several goroutines may read it: one that comes late changes nothing.
func (s *Socket) addDrops(drops uint32) {
	for old := s.drops.Load(); ; old = s.drops.Load() {
		grown := int32(drops - uint32(old))
		if grown <= 0 || s.drops.CompareAndSwap(old, old+uint64(grown)) {
			return
		}
	}
}
