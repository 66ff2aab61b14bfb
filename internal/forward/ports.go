package forward

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// PortConfig is how frames are taken from and sent to one port. The zero value
// is an ordinary port: a trunk of all VLANs.
type PortConfig struct {
	VLAN VLANConfig
	// Isolated ports of the same Group send nothing to each other.
	Isolated bool
	Group    string
	// Hairpin has frames sent out of the port they came in on, if that is
	// where they belong.
	Hairpin bool
}

func (c *PortConfig) check() error {
	if c.Group != "" && !c.Isolated {
		return errors.New("a group, but not isolated")
	}
	return c.VLAN.check()
}

// PortConfigs are the settings of ports by name. Ports that it does not name
// have the zero PortConfig.
type PortConfigs map[string]PortConfig

func (c PortConfigs) check() error {
	for name := range c {
		p := c[name]
		if err := p.check(); err != nil {
			return fmt.Errorf("port %s: %w", name, err)
		}
	}
	return nil
}

// port is a port of a portSet, with its settings resolved.
type port struct {
	no        odp.PortNo
	name      string
	access    bool
	untagged  uint16   // the VLAN of frames without tag
	trunk     *vlanSet // VLANs carried; nil is all, or the access VLAN
	isolation int      // ports with the same number do not reach each other; 0 is none
	hairpin   bool
	output    []byte // actions that send a frame out of the port
}

// carries reports whether the port is a member of the VLAN.
func (p *port) carries(vlan uint16) bool {
	switch {
	case p.access:
		return vlan == p.untagged
	case p.trunk == nil:
		return true
	default:
		return p.trunk.has(vlan)
	}
}

// tags reports whether frames of the VLAN leave the port with a tag for it.
func (p *port) tags(vlan uint16) bool { return vlan != 0 && vlan != p.untagged }

// reaches reports whether frames from p may go out of q.
func (p *port) reaches(q *port) bool {
	if p.no == q.no {
		return p.hairpin
	}
	return p.isolation == 0 || p.isolation != q.isolation
}

// portSet is an immutable set of ports with what is configured for them.
type portSet struct {
	nos   []odp.PortNo // ascending
	ports []port       // in the order of nos
	// plain says that no port has settings: all carry all VLANs, and all
	// reach each other.
	plain    bool
	domains  []domain
	domainOf [vlanIDs]uint16 // by VLAN
}

func newPortSet(list []dpif.Port, cfg PortConfigs) *portSet {
	s := &portSet{plain: true}
	groups := map[string]int{}
	edges := []uint16{0, 1}
	for _, p := range list {
		c, special := cfg[p.Name]
		q := port{
			no: p.No, name: p.Name, access: c.VLAN.Access != 0, untagged: c.VLAN.Access + c.VLAN.Native,
			trunk: c.VLAN.set(), hairpin: c.Hairpin,
		}
		if c.Isolated {
			if groups[c.Group] == 0 {
				groups[c.Group] = len(groups) + 1
			}
			q.isolation = groups[c.Group]
		}
		var e netlink.Encoder
		odp.AppendOutput(&e, p.No)
		q.output = e.Bytes()
		s.ports = append(s.ports, q)
		if special {
			s.plain = false
			edges = c.VLAN.edges(edges)
		}
	}
	slices.SortStableFunc(s.ports, func(a, b port) int { return cmp.Compare(a.no, b.no) })
	s.ports = slices.CompactFunc(s.ports, func(a, b port) bool { return a.no == b.no })
	for i := range s.ports {
		s.nos = append(s.nos, s.ports[i].no)
	}
	s.divide(edges)
	return s
}

func (s *portSet) has(no odp.PortNo) bool { return s.find(no) != nil }

// find returns the port, nil if it is not in the set.
func (s *portSet) find(no odp.PortNo) *port {
	if i, ok := slices.BinarySearch(s.nos, no); ok {
		return &s.ports[i]
	}
	return nil
}

// ports is what all policies share: the current ports with their settings, and
// the generation.
type ports struct {
	config     PortConfigs
	set        atomic.Pointer[portSet]
	generation atomic.Uint64
}

var noPorts = newPortSet(nil, nil)

func (p *ports) load() *portSet {
	if s := p.set.Load(); s != nil {
		return s
	}
	return noPorts
}

// store makes s the current set and reports whether it differs from the former
// one.
func (p *ports) store(s *portSet) bool {
	same := slices.EqualFunc(p.load().ports, s.ports, func(a, b port) bool { return a.no == b.no && a.name == b.name })
	p.set.Store(s)
	return !same
}

// Generation implements dpif.Policy.
func (p *ports) Generation() uint64 { return p.generation.Load() }
