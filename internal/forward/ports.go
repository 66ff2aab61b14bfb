package forward

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"

	"dpifd/internal/guard"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// PortConfig is how frames from and to one port are handled. The zero value is an ordinary
// port: a trunk of all VLANs.
type PortConfig struct {
	VLAN VLANConfig
	// Isolated ports of the same Group do not send to each other.
	Isolated bool
	Group    string
	// Storm limits flooded packets. Flood ignores it, because it reads no addresses.
	Storm StormConfig
	// MACLimit is the maximum number of MACs of the port; 0 is no limit.
	MACLimit int
	// Hairpin allows frames to leave through the port on which they arrived.
	Hairpin bool
	// Tunnel, if not nil, makes the port a tunnel. Such a port exists only in the policy.
	Tunnel *TunnelConfig
	// MirrorTo names the port that gets a copy of each frame that this port receives or sends.
	// That port carries nothing else.
	MirrorTo string
	// Guard restricts what the port may send.
	Guard guard.Config
	// MulticastRouter makes the port get the packets of all groups, and the reports of their
	// members.
	MulticastRouter bool
}

func (c *PortConfig) check() error {
	if err := c.Tunnel.check(); err != nil {
		return err
	}
	if c.MACLimit < 0 || c.MACLimit > maxMACLimit {
		return fmt.Errorf("MACLimit %d is not within 0 and %d", c.MACLimit, maxMACLimit)
	}
	if c.Group != "" && !c.Isolated {
		return errors.New("a group, but not isolated")
	}
	return c.VLAN.check()
}

// PortConfigs are the settings of ports by name. Ports that are missing have the zero PortConfig.
type PortConfigs map[string]PortConfig

func (c PortConfigs) check(patterns ...PortPattern) error {
	for i := range patterns {
		if err := patterns[i].check(); err != nil {
			return fmt.Errorf("ports %s: %w", patterns[i].Match, err)
		}
	}
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
	place     int // in the set
	name      string
	sinceMS   int64 // as in policy.Port
	access    bool
	untagged  uint16   // the VLAN of frames without tag
	trunk     *vlanSet // VLANs carried; nil is all, or the access VLAN
	isolation int      // ports with the same number do not reach each other; 0 is none
	hairpin   bool
	macLimit  int
	meters    stormMeters
	output    []byte // actions that send a frame out of the port
	// withTOS is output with a TOS at tosAt, for a tunnel that inherits it; nil for other
	// ports.
	withTOS []byte
	tosAt   int
	sink    bool         // a mirror: it carries nothing but copies
	copy    []byte       // actions that send a copy to the port's mirror
	rules   *guard.Rules // nil: it may send anything
}

// carries reports whether the port is a member of the VLAN.
func (p *port) carries(vlan uint16) bool {
	switch {
	case p.sink:
		return false
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

// portSet is an immutable set of ports with their configuration.
type portSet struct {
	ports []port // by number
	// places holds, by port number, the index in ports plus 1; 0 is no port. Larger numbers,
	// which only tunnels have, are searched otherwise.
	places []int32
	// plain means that no port, existing or not, has settings: all ports carry all VLANs and
	// reach each other.
	plain    bool
	domains  []domain
	devices  []device     // of tunnels
	inherits bool         // a tunnel inherits the TOS of the inner packet
	routers  []odp.PortNo // ports with PortConfig.MulticastRouter, ascending
	// fixed holds the ports of static MACs, by macKey; nil for one whose port
	// is not in the set.
	fixed    map[uint64]*port
	domainOf [vlanIDs]uint16 // by VLAN
}

// newPortSet returns the set of the ports in list. meters are those of storm control by name.
func newPortSet(list []policy.Port, cfg PortConfigs, meters map[string]stormMeters) *portSet {
	s := &portSet{plain: len(cfg) == 0}
	tunnels, sinks := cfg.tunnelsOf(), cfg.mirrors()
	b := setBuilder{portSet: s, groups: map[string]int{}, edges: []uint16{0, 1}, mirrors: map[string]string{},
		meters: meters}
	for _, p := range list {
		names, isDevice := tunnels[p.Name]
		for _, name := range names {
			c := cfg[name]
			q := b.port(name, c)
			q.sinceMS = p.SinceMS
			c.Tunnel.resolve(&q, p.No)
			s.addDevice(p.No, c.Tunnel)
			b.add(q, c, sinks[name])
		}
		if isDevice {
			continue
		}
		c := cfg[p.Name]
		q := b.port(p.Name, c)
		q.no, q.sinceMS = p.No, p.SinceMS
		if p.OnlyVLAN0 && !c.VLAN.IsSet() {
			q.trunk, s.plain = &vlanSet{}, false
			q.trunk.add(defaultVLAN)
		}
		var e netlink.Encoder
		odp.AppendOutput(&e, p.No)
		q.output = e.Bytes()
		b.add(q, c, sinks[p.Name])
	}
	slices.SortStableFunc(s.ports, func(a, b port) int { return cmp.Compare(a.no, b.no) })
	s.ports = slices.CompactFunc(s.ports, func(a, b port) bool { return a.no == b.no })
	slices.Sort(s.routers)
	s.number()
	s.mirror(b.mirrors)
	s.divide(b.edges)
	return s
}

// setBuilder is the state of building a portSet.
type setBuilder struct {
	*portSet
	groups  map[string]int    // numbers of isolation groups
	edges   []uint16          // see divide
	mirrors map[string]string // see mirror
	meters  map[string]stormMeters
}

// port returns a port with its settings, but without number and output.
func (b *setBuilder) port(name string, c PortConfig) port {
	q := port{
		name: name, access: c.VLAN.Access != 0, untagged: c.VLAN.Access + c.VLAN.Native,
		trunk: c.VLAN.set(), hairpin: c.Hairpin, macLimit: c.MACLimit, meters: b.meters[name],
		rules: guard.New(&c.Guard),
	}
	if c.Isolated {
		if b.groups[c.Group] == 0 {
			b.groups[c.Group] = len(b.groups) + 1
		}
		q.isolation = b.groups[c.Group]
	}
	return q
}

func (b *setBuilder) add(q port, c PortConfig, sink bool) {
	q.sink = sink
	b.ports = append(b.ports, q)
	b.edges = c.VLAN.edges(b.edges)
	if c.MulticastRouter {
		b.routers = append(b.routers, q.no)
	}
	if c.MirrorTo != "" {
		b.mirrors[q.name] = c.MirrorTo
	}
}

// number builds the index from port number to place in the set.
func (s *portSet) number() {
	for i := range s.ports {
		p := &s.ports[i]
		p.place = i
		if p.no < odp.MaxPorts {
			s.places = append(s.places, make([]int32, int(p.no)+1-len(s.places))...)
			s.places[p.no] = int32(i) + 1
		}
	}
}

func (s *portSet) has(no odp.PortNo) bool { return s.find(no) != nil }

// find returns the port, nil if it is not in the set.
func (s *portSet) find(no odp.PortNo) *port {
	if no < odp.MaxPorts {
		if int(no) >= len(s.places) || s.places[no] == 0 {
			return nil
		}
		return &s.ports[s.places[no]-1]
	}
	i, ok := slices.BinarySearchFunc(s.ports, no, func(p port, no odp.PortNo) int { return cmp.Compare(p.no, no) })
	if !ok {
		return nil
	}
	return &s.ports[i]
}

// ports is the part that all policies share: the current ports with their settings, and the
// generation.
type ports struct {
	config     PortConfigs
	patterns   []PortPattern
	set        atomic.Pointer[portSet]
	generation atomic.Uint64
}

var noPorts = newPortSet(nil, nil, nil)

func (p *ports) load() *portSet {
	if s := p.set.Load(); s != nil {
		return s
	}
	return noPorts
}

// store makes s the current set and reports whether it differs from the previous one.
func (p *ports) store(s *portSet) bool {
	same := slices.EqualFunc(p.load().ports, s.ports, func(a, b port) bool { return a.no == b.no && a.name == b.name })
	p.set.Store(s)
	return !same
}

// Generation implements policy.Policy.
func (p *ports) Generation() uint64 { return p.generation.Load() }
