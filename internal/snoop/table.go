package snoop

import (
	"cmp"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"

	"dpifd/internal/odp"
)

// DefaultGroupLimit is the number of groups per port if the configuration sets none.
const DefaultGroupLimit = 256

const (
	shards       = 64
	lookedUpBits = 1 << 16
)

// Table holds the groups of a switch by VLAN and port. Times are milliseconds of one monotonic
// clock. Ports without an entry in Members are not members.
type Table struct {
	limit int
	seed  uint64
	// lookedUp has a bit, by hash, for each group that was looked up since its last change: only a
	// change of such a group changes decisions.
	lookedUp [lookedUpBits / 32]atomic.Uint32
	groups   [shards]shard
	routers  [families]atomic.Pointer[map[uint16][]odp.PortNo] // by VLAN, ascending; not changed
	next     atomic.Int64                                      // nothing expires before this

	mu       sync.Mutex // guards the rest, and changes of the groups
	ports    map[odp.PortNo]int
	seen     map[routerKey]int64 // when routers expire
	queriers map[linkKey]querier
	counters Counters
}

// Indexes of the values that IPv4 and IPv6 each have.
const (
	ipv4 = iota
	ipv6
	families
)

// linkKey is a VLAN and one of the families.
type linkKey struct {
	vlan   uint16
	family uint8
}

type routerKey struct {
	linkKey
	port odp.PortNo
}

type groupKey struct {
	vlan  uint16
	group netip.Addr
}

type shard struct {
	sync.RWMutex
	groups map[groupKey]*members
}

// members are the ports of a group.
type members struct {
	ports []odp.PortNo // ascending; replaced, not changed
	until []int64      // when each expires
}

// Counters count since the table was created, except Groups and Routers.
type Counters struct {
	Groups    int // members of groups known now, each port counted
	Routers   int // ports that lead to routers, learned
	Queries   uint64
	Reports   uint64
	Malformed uint64
	Refused   uint64 // joins over the limit of a port
}

// NewTable returns an empty table, with at most groupLimit groups per port.
func NewTable(groupLimit int) *Table {
	t := &Table{limit: groupLimit, seed: rand.Uint64(),
		ports: map[odp.PortNo]int{}, seen: map[routerKey]int64{}, queriers: map[linkKey]querier{}}
	for i := range t.groups {
		t.groups[i].groups = map[groupKey]*members{}
	}
	for i := range t.routers {
		t.routers[i].Store(&map[uint16][]odp.PortNo{})
	}
	t.next.Store(math.MaxInt64)
	return t
}

func (k groupKey) family() uint8 {
	if k.group.Is4() {
		return ipv4
	}
	return ipv6
}

func (t *Table) hash(k groupKey) uint64 {
	const odd = 0x9e3779b97f4a7c15
	a := k.group.As16()
	h := t.seed ^ uint64(k.vlan)
	for i := 0; i < len(a); i += 8 {
		h = (h ^ binary.BigEndian.Uint64(a[i:])) * odd
		h ^= h >> 32
	}
	return h
}

// Members returns the ports that are members of a group in a VLAN, in ascending order,
// and whether the group is known there. The result does not change.
func (t *Table) Members(vlan uint16, group netip.Addr) (ports []odp.PortNo, known bool) {
	k := groupKey{vlan, group}
	h := t.hash(k)
	// Set before the look-up, so that a concurrent change of the group sees the bit.
	if word, bit := t.lookedUpBit(h); word.Load()&bit == 0 {
		word.Or(bit)
	}
	s := &t.groups[h%shards]
	s.RLock()
	defer s.RUnlock()
	if m := s.groups[k]; m != nil {
		return m.ports, true
	}
	return nil, false
}

// Routers returns the ports of a VLAN that lead to queriers of a family, in ascending order.
// The result does not change.
func (t *Table) Routers(vlan uint16, is6 bool) []odp.PortNo {
	family := ipv4
	if is6 {
		family = ipv6
	}
	return (*t.routers[family].Load())[vlan]
}

func (t *Table) lookedUpBit(hash uint64) (*atomic.Uint32, uint32) {
	i := hash >> 32 % lookedUpBits
	return &t.lookedUp[i/32], 1 << (i % 32)
}

// changed reports whether the group was looked up since its last change.
func (t *Table) changed(hash uint64) bool {
	word, bit := t.lookedUpBit(hash)
	return word.Load()&bit != 0 && word.And(^bit)&bit != 0
}

// set makes the port a member until a time, or changes that time. It reports whether
// decisions change. mu is held.
func (t *Table) set(k groupKey, port odp.PortNo, until int64) bool {
	h := t.hash(k)
	s := &t.groups[h%shards]
	m := s.groups[k]
	t.next.Store(min(t.next.Load(), until))
	if m == nil {
		m = &members{}
	}
	i, is := slices.BinarySearch(m.ports, port)
	if is {
		m.until[i] = until
		return false
	}
	if t.ports[port] >= t.limit {
		t.counters.Refused++
		return false
	}
	t.ports[port]++
	t.counters.Groups++
	m.until = slices.Insert(m.until, i, until)
	s.Lock()
	m.ports = slices.Insert(slices.Clone(m.ports), i, port)
	s.groups[k] = m
	s.Unlock()
	return t.changed(h)
}

// retain keeps the members for which keep returns true. It reports whether decisions change. mu
// is held.
func (t *Table) retain(keep func(port odp.PortNo, until int64) bool) (changed bool) {
	for i := range t.groups {
		s := &t.groups[i]
		for k, m := range s.groups {
			var ports []odp.PortNo
			var until []int64
			for j, port := range m.ports {
				if keep(port, m.until[j]) {
					ports, until = append(ports, port), append(until, m.until[j])
					continue
				}
				if t.ports[port]--; t.ports[port] == 0 {
					delete(t.ports, port)
				}
				t.counters.Groups--
			}
			if len(ports) == len(m.ports) {
				continue
			}
			s.Lock()
			if m.ports, m.until = ports, until; len(ports) == 0 {
				delete(s.groups, k)
			}
			s.Unlock()
			if t.changed(t.hash(k)) {
				changed = true
			}
		}
	}
	for k, until := range t.seen {
		if !keep(k.port, until) {
			t.forgetRouter(k)
			changed = true
		}
	}
	return changed
}

func (t *Table) addRouter(k routerKey, until int64) (changed bool) {
	_, known := t.seen[k]
	t.seen[k] = until
	t.next.Store(min(t.next.Load(), until))
	if known {
		return false
	}
	t.changeRouters(k.linkKey, func(list []odp.PortNo) []odp.PortNo {
		i, _ := slices.BinarySearch(list, k.port)
		return slices.Insert(list, i, k.port)
	})
	return true
}

func (t *Table) forgetRouter(k routerKey) {
	delete(t.seen, k)
	t.changeRouters(k.linkKey, func(list []odp.PortNo) []odp.PortNo {
		return slices.DeleteFunc(list, func(no odp.PortNo) bool { return no == k.port })
	})
}

// changeRouters replaces the list of a VLAN.
func (t *Table) changeRouters(k linkKey, change func([]odp.PortNo) []odp.PortNo) {
	old := *t.routers[k.family].Load()
	all := make(map[uint16][]odp.PortNo, len(old)+1)
	for vlan, list := range old {
		all[vlan] = list
	}
	if all[k.vlan] = change(slices.Clone(all[k.vlan])); len(all[k.vlan]) == 0 {
		delete(all, k.vlan)
	}
	t.routers[k.family].Store(&all)
}

// Expire removes the members and routers whose time is over at nowMS, and reports whether
// decisions change.
func (t *Table) Expire(nowMS int64) (changed bool) {
	if nowMS < t.next.Load() {
		return false
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	next := int64(math.MaxInt64)
	changed = t.retain(func(_ odp.PortNo, until int64) bool {
		if until > nowMS {
			next = min(next, until)
		}
		return until > nowMS
	})
	t.next.Store(next)
	return changed
}

// Retain removes the members and routers of ports for which has returns false, and reports
// whether decisions change.
func (t *Table) Retain(has func(odp.PortNo) bool) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.retain(func(port odp.PortNo, _ int64) bool { return has(port) })
}

// Entry is a member of a group, or a port that leads to a router.
type Entry struct {
	VLAN    uint16
	Group   netip.Addr // not valid for a router
	IPv6    bool
	Port    odp.PortNo
	UntilMS int64
}

// Snapshot returns all members and routers by VLAN, group and port, routers first. The
// caller owns it.
func (t *Table) Snapshot() []Entry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []Entry
	for k, until := range t.seen {
		all = append(all, Entry{VLAN: k.vlan, IPv6: k.family == ipv6, Port: k.port, UntilMS: until})
	}
	for i := range t.groups {
		for k, m := range t.groups[i].groups {
			for j, port := range m.ports {
				all = append(all, Entry{
					VLAN: k.vlan, Group: k.group, IPv6: k.family() == ipv6, Port: port, UntilMS: m.until[j],
				})
			}
		}
	}
	slices.SortFunc(all, func(a, b Entry) int {
		six := func(e Entry) int {
			if e.IPv6 {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(a.VLAN, b.VLAN), a.Group.Compare(b.Group), six(a)-six(b), cmp.Compare(a.Port, b.Port))
	})
	return all
}

// Restore takes over entries of another table's Snapshot.
func (t *Table) Restore(entries []Entry) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range entries {
		k := groupKey{e.VLAN, e.Group}
		if e.Group.IsValid() {
			t.set(k, e.Port, e.UntilMS)
			continue
		}
		family := uint8(ipv4)
		if e.IPv6 {
			family = ipv6
		}
		t.addRouter(routerKey{linkKey{e.VLAN, family}, e.Port}, e.UntilMS)
	}
}

// Counters returns the counters.
func (t *Table) Counters() Counters {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := t.counters
	c.Routers = len(t.seen)
	return c
}
