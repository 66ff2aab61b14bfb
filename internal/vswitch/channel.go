package vswitch

import (
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"
)

// channel is one vport that is served, and its upcall socket. Under per-CPU dispatch
// a vport has neither socket nor handler, and a handler has a channel that is no
// vport's.
type channel struct {
	*upcall.Port
	serial    uint64 // tells apart ports that had the same number one after another
	typ       dpif.VportType
	sinceMS   int64  // policy.Port.SinceMS
	ifindex   uint32 // of the vport's device, 0 on kernels that do not tell
	sock      *upcall.Socket
	reason    string // for the socket's transport
	ringBytes uint64 // counted against the limit
	handler   *upcall.Handler
	stored    string // name under which the store keeps it, empty if it does not
}

// portID is the vport's upcall PID, 0 without a socket of its own.
func (c *channel) portID() uint32 {
	if c.sock == nil {
		return 0
	}
	return c.sock.PortID()
}

// transport is how the channel's upcalls come.
func (c *channel) transport() netlink.Transport {
	if c.sock == nil {
		return netlink.Linear
	}
	return c.sock.Transport()
}

// ringFrames is the number of frames of the channel's ring, 0 without.
func (c *channel) ringFrames() uint32 {
	if c.sock == nil {
		return 0
	}
	g := c.sock.Geometry()
	return g.Frames()
}

// handlerID is the owner's, -1 for a vport whose upcalls all handlers take.
func (c *channel) handlerID() int {
	if c.sock == nil {
		return -1
	}
	return c.handler.ID()
}
