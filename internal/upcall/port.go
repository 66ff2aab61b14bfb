package upcall

import (
	"sync"
	"sync/atomic"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Port is a vport on the packet path: its identity, its limit of upcalls, and its counters. Its
// methods may be called by any goroutine.
type Port struct {
	No      odp.PortNo
	serial  uint64
	name    atomic.Pointer[string]
	socket  *Socket // nil with per-CPU dispatch
	limit   limiter
	limitMu sync.Mutex // guards limit if several handlers serve the port
	spoofed spoofed
	counts
}

// serials is the number of ports created so far.
var serials atomic.Uint64

// NewPort returns a port without a socket. Upcalls above maxUpcalls per second are dropped
// before they are decoded; 0 is no limit.
func NewPort(no odp.PortNo, name string, maxUpcalls uint32) *Port {
	p := &Port{No: no, serial: serials.Add(1)}
	p.SetName(name)
	p.SetMaxUpcalls(maxUpcalls)
	return p
}

// Serial returns a number that is unique in the process. It distinguishes successive ports with
// the same port number.
func (p *Port) Serial() uint64 { return p.serial }

// Name returns the port's name.
func (p *Port) Name() string { return *p.name.Load() }

// SetName changes the port's name.
func (p *Port) SetName(name string) { p.name.Store(&name) }

// MaxUpcalls returns the maximum upcalls per second, 0 for no limit.
func (p *Port) MaxUpcalls() uint32 { return p.limit.rate.Load() }

// SetMaxUpcalls sets the maximum upcalls per second, 0 for no limit.
func (p *Port) SetMaxUpcalls(rate uint32) { p.limit.rate.Store(rate) }

// Counters returns the port's counters. SocketDrops is the value when the socket's drops were
// last read.
func (p *Port) Counters() PortCounters {
	c := PortCounters{
		Upcalls: p.upcalls.Load(), Bytes: p.bytes.Load(), ActionUpcalls: p.actionUpcalls.Load(),
		Executed: p.executed.Load(), Dropped: p.dropped.Load(), ExecuteRefused: p.executeRefused.Load(),
		FlowsPut: p.flowsPut.Load(), FlowsPrimed: p.flowsPrimed.Load(), FlowsExisting: p.flowsExisting.Load(),
		FlowsRefused: p.flowsRefused.Load(), FlowsOverLimit: p.flowsOverLimit.Load(),
		DecodeErrors: p.decodeErrors.Load(), ReceiveErrors: p.receiveErrors.Load(), Foreign: p.foreign.Load(),
		PolicyErrors: p.policyErrors.Load(), Shed: p.shed.Load(), Spoofed: p.spoofed.packets.Load(),
	}
	if p.socket == nil {
		return c
	}
	c.Socket = p.socket.Counters()
	// If the number of dropped messages is unknown, an overflow counts as at least one.
	c.SocketDrops = max(p.socket.drops.Load(), c.Socket.Overflows)
	if p.socket.Transport() == netlink.Ring {
		c.RingDrops = c.SocketDrops
	}
	return c
}

// CurrentCounters returns Counters after reading the drops of the socket.
func (p *Port) CurrentCounters() PortCounters {
	if p.socket != nil {
		p.socket.ReadDrops()
	}
	return p.Counters()
}

// admitShared is limit.admit for a port that several handlers serve.
func (p *Port) admitShared(now int64) bool {
	if p.limit.rate.Load() == 0 {
		return true
	}
	p.limitMu.Lock()
	defer p.limitMu.Unlock()
	return p.limit.admit(now)
}

// Table is the set of ports whose upcalls arrive on shared sockets. One goroutine changes it
// while handlers read it. The zero value is empty.
type Table struct {
	ports atomic.Pointer[map[odp.PortNo]*Port]
}

// Set replaces the ports. The map must not be changed afterwards.
func (t *Table) Set(ports map[odp.PortNo]*Port) { t.ports.Store(&ports) }

// get returns the port of that number, nil if there is none.
func (t *Table) get(no odp.PortNo) *Port {
	if ports := t.ports.Load(); ports != nil {
		return (*ports)[no]
	}
	return nil
}
