package reconciler

import (
	"cmp"
	"slices"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// Port is a vport that is served.
type Port struct {
	*upcall.Port
	Type   dpif.VportType
	Socket *transport.Socket // nil under per-CPU dispatch

	// Of the Reconciler's goroutine.
	sinceMS int64  // policy.Port.SinceMS
	ifindex uint32 // of the vport's device, 0 if the kernel does not report it
}

// Table holds the ports that are served. One goroutine changes it; any may read it. The zero
// value is empty.
type Table struct {
	now atomic.Pointer[Ports]
}

// Ports is the content of a Table at one time. It does not change.
type Ports struct {
	List []*Port             // by number
	Past upcall.PortCounters // the sum over removed ports
}

// Load returns the current ports.
func (t *Table) Load() *Ports {
	if p := t.now.Load(); p != nil {
		return p
	}
	return &Ports{}
}

// Get returns the port with a number, nil if there is none.
func (p *Ports) Get(no odp.PortNo) *Port {
	if i, ok := p.find(no); ok {
		return p.List[i]
	}
	return nil
}

func (p *Ports) find(no odp.PortNo) (int, bool) {
	return slices.BinarySearchFunc(p.List, no, func(p *Port, no odp.PortNo) int { return cmp.Compare(p.No, no) })
}

// Numbers returns the numbers of the ports.
func (p *Ports) Numbers() []odp.PortNo {
	numbers := make([]odp.PortNo, len(p.List))
	for i, port := range p.List {
		numbers[i] = port.No
	}
	return numbers
}

// Sockets returns the sockets of the ports that have their own.
func (p *Ports) Sockets() []*transport.Socket { return socketsOf(p.List) }

func socketsOf(ports []*Port) []*transport.Socket {
	var socks []*transport.Socket
	for _, p := range ports {
		if p.Socket != nil {
			socks = append(socks, p.Socket)
		}
	}
	return socks
}

// add adds ports.
func (t *Table) add(ports ...*Port) {
	was := t.Load()
	now := &Ports{List: slices.Concat(was.List, ports), Past: was.Past}
	slices.SortFunc(now.List, func(a, b *Port) int { return cmp.Compare(a.No, b.No) })
	t.now.Store(now)
}

// remove removes a port, and adds its last counters to the past.
func (t *Table) remove(port *Port, last upcall.PortCounters) {
	was := t.Load()
	now := &Ports{List: slices.DeleteFunc(slices.Clone(was.List), func(p *Port) bool { return p == port }), Past: was.Past}
	now.Past.Add(last)
	t.now.Store(now)
}

// AddPast adds the counters of something that is gone.
func (t *Table) AddPast(last upcall.PortCounters) {
	was := t.Load()
	now := &Ports{List: was.List, Past: was.Past}
	now.Past.Add(last)
	t.now.Store(now)
}

// upcallPorts returns the ports in the form that handlers use for lookups.
func (p *Ports) upcallPorts() map[odp.PortNo]*upcall.Port {
	m := make(map[odp.PortNo]*upcall.Port, len(p.List))
	for _, port := range p.List {
		m[port.No] = port.Port
	}
	return m
}
