package forward

import (
	"slices"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// portSet is an immutable set of ports.
type portSet struct {
	nos []odp.PortNo // ascending
	// output holds the output action of each port, in the order of nos and
	// odp.OutputLen bytes each.
	output []byte
}

func newPortSet(ports []dpif.Port) *portSet {
	s := &portSet{nos: make([]odp.PortNo, 0, len(ports))}
	for _, p := range ports {
		s.nos = append(s.nos, p.No)
	}
	slices.Sort(s.nos)
	s.nos = slices.Compact(s.nos)
	var e netlink.Encoder
	e.Reset(make([]byte, 0, len(s.nos)*odp.OutputLen))
	for _, no := range s.nos {
		odp.AppendOutput(&e, no)
	}
	s.output = e.Bytes()
	return s
}

func (s *portSet) has(no odp.PortNo) bool {
	_, ok := slices.BinarySearch(s.nos, no)
	return ok
}

// appendFlood appends outputs to all ports but in.
func (s *portSet) appendFlood(e *netlink.Encoder, in odp.PortNo) {
	i, ok := slices.BinarySearch(s.nos, in)
	if !ok {
		e.Raw(s.output...)
		return
	}
	e.Raw(s.output[:i*odp.OutputLen]...)
	e.Raw(s.output[(i+1)*odp.OutputLen:]...)
}

// ports is what all policies share: the current ports and the generation.
type ports struct {
	set        atomic.Pointer[portSet]
	generation atomic.Uint64
}

var noPorts portSet

func (p *ports) load() *portSet {
	if s := p.set.Load(); s != nil {
		return s
	}
	return &noPorts
}

// store makes s the current set and reports whether it differs from the former
// one.
func (p *ports) store(s *portSet) bool {
	same := slices.Equal(p.load().nos, s.nos)
	p.set.Store(s)
	return !same
}

// Generation implements dpif.Policy.
func (p *ports) Generation() uint64 { return p.generation.Load() }
