package vswitch

import (
	"sync"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// channel is one vport and its upcall socket. One handler owns it: it alone
// receives from the socket and closes it. Under per-CPU dispatch a vport has
// neither socket nor handler, and a handler has a channel that is no vport's.
type channel struct {
	serial    uint64 // tells apart ports that had the same number one after another
	no        odp.PortNo
	name      *portName
	typ       dpif.VportType
	sinceMS   int64             // Port.SinceMS
	ifindex   uint32            // of the vport's device, 0 on kernels that do not tell
	sock      *netlink.Receiver // nil for a vport under per-CPU dispatch
	reason    string            // for the socket's transport
	ringBytes uint64            // counted against the limit
	handler   *Handler
	slot      uint32 // place in the handler's table, the id of its epoll events
	stored    string // name under which the store keeps it, empty if it does not

	// Of the handler's goroutine: ch is in its list of ready ports; the socket
	// overflowed and is to be polled once it is empty.
	ready, congested bool

	limit   limiter
	limitMu sync.Mutex // guards limit where several handlers take the port's upcalls

	upcalls, bytes, actionUpcalls                      atomic.Uint64
	executed, dropped, executeRefused                  atomic.Uint64
	flowsPut, flowsPrimed, flowsExisting, flowsRefused atomic.Uint64
	flowsOverLimit                                     atomic.Uint64
	decodeErrors, receiveErrors, foreign, policyErrors atomic.Uint64
	shed                                               atomic.Uint64
	drops                                              atomic.Uint64 // of the socket, as last read; 0 where the kernel does not tell
}

// portName is a port's name, which may change while others read it.
type portName struct{ p atomic.Pointer[string] }

func newPortName(name string) *portName {
	n := &portName{}
	n.set(name)
	return n
}

func (n *portName) get() string     { return *n.p.Load() }
func (n *portName) set(name string) { n.p.Store(&name) }

// PortCounters are the counters of one port's upcalls since it was attached.
type PortCounters struct {
	Upcalls        uint64 // received and decoded
	Bytes          uint64 // packet bytes of these
	ActionUpcalls  uint64 // of these, from a flow's userspace action; not forwarded
	Executed       uint64 // packets handed back to the kernel
	Dropped        uint64 // packets that the policy dropped
	ExecuteRefused uint64 // packets that the kernel refused: lost
	FlowsPut       uint64 // flows asked for
	FlowsPrimed    uint64 // of these, flows of packets that have yet to come
	FlowsExisting  uint64 // of these, flows that were there already
	FlowsRefused   uint64 // of these, flows that the kernel refused
	FlowsOverLimit uint64 // flows not asked for, the table being full
	DecodeErrors   uint64 // messages that could not be decoded: lost
	ReceiveErrors  uint64 // receive calls that failed, overflows left out
	Foreign        uint64 // messages that were not upcalls of this datapath
	PolicyErrors   uint64 // packets that the policy could not decide: lost
	Shed           uint64 // messages over the port's limit, not decoded: lost
	SocketDrops    uint64 // messages that the kernel could not queue: lost
	RingDrops      uint64 // of these, those for which a ring had no frame
	Socket         netlink.Counters
}

// Lost sums the packets that came up, or should have, and did not go on.
func (p *PortCounters) Lost() uint64 {
	return p.SocketDrops + p.Undecodable() + p.ExecuteRefused + p.PolicyErrors + p.ActionUpcalls + p.Shed
}

// Undecodable sums the messages that arrived and made no sense.
func (p *PortCounters) Undecodable() uint64 {
	return p.DecodeErrors + p.Socket.Truncated + p.Socket.Malformed + p.Socket.Oversized + p.Socket.UnknownStatus
}

// finalCounters are counters with the drops of the socket as it is now.
func (c *channel) finalCounters() PortCounters {
	c.readDrops()
	return c.counters()
}

// readDrops notes how many upcalls the kernel could not queue, where the socket
// tells.
func (c *channel) readDrops() {
	if c.sock == nil {
		return
	}
	if m, err := c.sock.MemInfo(); err == nil {
		c.noteDrops(m.Drops)
	}
}

// counters are those of the channel. SocketDrops is as of the last readDrops.
func (c *channel) counters() PortCounters {
	p := PortCounters{
		Upcalls: c.upcalls.Load(), Bytes: c.bytes.Load(), ActionUpcalls: c.actionUpcalls.Load(),
		Executed: c.executed.Load(), Dropped: c.dropped.Load(), ExecuteRefused: c.executeRefused.Load(),
		FlowsPut: c.flowsPut.Load(), FlowsPrimed: c.flowsPrimed.Load(), FlowsExisting: c.flowsExisting.Load(), FlowsRefused: c.flowsRefused.Load(),
		FlowsOverLimit: c.flowsOverLimit.Load(),
		DecodeErrors:   c.decodeErrors.Load(), ReceiveErrors: c.receiveErrors.Load(), Foreign: c.foreign.Load(), PolicyErrors: c.policyErrors.Load(),
		Shed: c.shed.Load(),
	}
	if c.sock == nil {
		return p
	}
	p.Socket = c.sock.Counters()
	// Where neither the socket nor Server.readDrops could tell, an overflow
	// stands for one message at least.
	p.SocketDrops = max(c.drops.Load(), p.Socket.Overflows)
	if c.sock.Transport() == netlink.Ring {
		p.RingDrops = p.SocketDrops
	}
	return p
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
	return c.handler.id
}

// admitShared is limit.admit for a port whose upcalls several handlers take.
func (c *channel) admitShared(now int64) bool {
	if c.limit.rate.Load() == 0 {
		return true
	}
	c.limitMu.Lock()
	defer c.limitMu.Unlock()
	return c.limit.admit(now)
}

// noteDrops takes the kernel's count of drops, which is of 32 bits and wraps
// around. Several goroutines may read it: one that comes late changes nothing.
func (c *channel) noteDrops(drops uint32) {
	for old := c.drops.Load(); ; old = c.drops.Load() {
		grown := int32(drops - uint32(old))
		if grown <= 0 || c.drops.CompareAndSwap(old, old+uint64(grown)) {
			return
		}
	}
}
