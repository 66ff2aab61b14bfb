package transport

import (
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"
)

// Socket is an upcall socket with its state. A nil Socket means that a port has no socket; its
// methods may be called.
type Socket struct {
	*upcall.Socket
	Reason    string // for its transport
	RingBytes uint64 // memory of its ring, 0 without
	handler   *upcall.Handler
	stored    string // its name in the store, empty if it is not stored
}

// PortID is the netlink port id of the socket, a vport's upcall PID; 0 without.
func (s *Socket) PortID() uint32 {
	if s == nil {
		return 0
	}
	return s.Socket.PortID()
}

// Transport is how upcalls are received.
func (s *Socket) Transport() netlink.Transport {
	if s == nil {
		return netlink.Linear
	}
	return s.Socket.Transport()
}

// RingFrames is the number of frames of the socket's ring, 0 without.
func (s *Socket) RingFrames() uint32 {
	if s == nil {
		return 0
	}
	g := s.Geometry()
	return g.Frames()
}

// HandlerID is the number of the handler that owns the socket, -1 without a socket: then all
// handlers serve the port.
func (s *Socket) HandlerID() int {
	if s == nil {
		return -1
	}
	return s.handler.ID()
}
