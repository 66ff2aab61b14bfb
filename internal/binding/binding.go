// Package binding maps vports to entries of the configuration.
//
// The name of an entry finds a device once. From then on the entry and its settings belong to
// the vport, even if its device is renamed or moved to another network namespace, until the
// vport is removed or its number has another device. A table can be saved and restored by the
// next process: a vport is the same if number, type and device are the same.
package binding

import (
	"slices"
	"sync"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// Port is a vport with its device, as it is saved.
type Port struct {
	No        odp.PortNo     `json:"no"`
	Type      dpif.VportType `json:"type"`
	Ifindex   uint32         `json:"ifindex"` // 0 if it is not known
	Elsewhere bool           `json:"elsewhere,omitempty"`
	Netns     int32          `json:"netns,omitempty"` // see dpif.Vport
	Name      string         `json:"name"`            // of the device
	Entry     string         `json:"entry,omitempty"` // name of the entry, "" if the vport has none
}

// Entry is an entry of the configuration.
type Entry struct {
	Name string
	Type dpif.VportType
	// Local: the entry is the datapath's local port.
	Local bool
}

// Table has the vports of one datapath. It is safe for concurrent use.
type Table struct {
	mu      sync.Mutex
	ports   map[odp.PortNo]Port
	numbers map[string]odp.PortNo // by entry
	former  bool                  // Restore was called
	same    map[odp.PortNo]bool   // vports that Restore found unchanged
}

// NewTable returns an empty table.
func NewTable() *Table {
	return &Table{ports: map[odp.PortNo]Port{}, numbers: map[string]odp.PortNo{}, same: map[odp.PortNo]bool{}}
}

func portOf(v *dpif.Vport) Port {
	return Port{No: v.No, Type: v.Type, Ifindex: v.Ifindex, Elsewhere: v.Elsewhere, Netns: v.Netns, Name: v.Name}
}

// is reports whether v is the vport that was saved as p.
func (p *Port) is(v *dpif.Vport) bool {
	now := portOf(v)
	if p.Ifindex != 0 {
		now.Name = p.Name
	}
	now.Entry = p.Entry
	return *p == now
}

// Restore takes over the saved entries of a previous process for vports that are still the
// same.
func (t *Table) Restore(former []Port, vports []dpif.Vport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.former = true
	had := make(map[odp.PortNo]Port, len(former))
	for _, p := range former {
		had[p.No] = p
	}
	for i := range vports {
		v := &vports[i]
		if p, ok := had[v.No]; ok && p.is(v) {
			t.same[v.No] = true
			t.set(v, p.Entry)
		}
	}
}

// Replaced reports whether another device had the number when the previous process saved the
// table. Without a saved table it is false.
func (t *Table) Replaced(no odp.PortNo) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.former && !t.same[no]
}

// Update removes vports that no longer exist, and records the devices of the others.
func (t *Table) Update(vports []dpif.Vport) {
	t.mu.Lock()
	defer t.mu.Unlock()
	left := make(map[odp.PortNo]bool, len(vports))
	for i := range vports {
		v := &vports[i]
		left[v.No] = true
		was := t.ports[v.No]
		if was.Type != v.Type || v.Type != dpif.VportInternal && was.Ifindex != v.Ifindex {
			t.forget(v.No) // another device
		}
		t.set(v, t.ports[v.No].Entry)
	}
	for no := range t.ports {
		if !left[no] {
			t.forget(no)
		}
	}
}

// Forget removes a vport.
func (t *Table) Forget(no odp.PortNo) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.forget(no)
}

func (t *Table) forget(no odp.PortNo) {
	if entry := t.ports[no].Entry; entry != "" {
		delete(t.numbers, entry)
	}
	delete(t.ports, no)
	delete(t.same, no)
}

// Set binds an entry to a vport.
func (t *Table) Set(v dpif.Vport, entry string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.set(&v, entry)
}

func (t *Table) set(v *dpif.Vport, entry string) {
	p := portOf(v)
	p.Entry = entry
	t.ports[v.No] = p
	if entry != "" {
		t.numbers[entry] = v.No
	}
}

// Bind binds entries without a vport to vports without an entry, by the name of the device in
// the datapath's network namespace. find looks up alternative names (altnames) there and
// returns the ifindex, 0 if there is none. An internal port in another namespace is bound by
// the name that it has there, if the name is unique.
func (t *Table) Bind(entries []Entry, vports []dpif.Vport, find func(name string) uint32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var free *candidates
	for _, e := range entries {
		if _, bound := t.numbers[e.Name]; bound {
			continue
		}
		if free == nil {
			free = t.candidates(vports)
		}
		if v := free.match(e, find); v != nil && t.ports[v.No].Entry == "" {
			t.set(v, e.Name)
		}
	}
}

// candidates are vports without an entry.
type candidates struct {
	local     *dpif.Vport
	named     map[string]*dpif.Vport // in the datapath's network namespace
	indexed   map[uint32]*dpif.Vport // these by ifindex
	elsewhere map[string][]*dpif.Vport
}

func (t *Table) candidates(vports []dpif.Vport) *candidates {
	c := &candidates{named: map[string]*dpif.Vport{}, indexed: map[uint32]*dpif.Vport{},
		elsewhere: map[string][]*dpif.Vport{}}
	for i := range vports {
		v := &vports[i]
		switch {
		case t.ports[v.No].Entry != "":
		case v.No == 0:
			c.local = v
		case v.Elsewhere:
			c.elsewhere[v.Name] = append(c.elsewhere[v.Name], v)
		default:
			c.named[v.Name] = v
			if v.Ifindex != 0 {
				c.indexed[v.Ifindex] = v
			}
		}
	}
	return c
}

// match returns the vport of an entry, nil if there is none.
func (c *candidates) match(e Entry, find func(name string) uint32) *dpif.Vport {
	if e.Local {
		return c.local
	}
	v := c.named[e.Name]
	if v == nil {
		ifindex := find(e.Name)
		v = c.indexed[ifindex]
		if list := c.elsewhere[e.Name]; ifindex == 0 && e.Type == dpif.VportInternal && len(list) == 1 {
			v = list[0]
		}
	}
	if v != nil && e.Type == dpif.VportInternal && v.Type != dpif.VportInternal {
		return nil
	}
	return v
}

// Release unbinds an entry from its vport, and returns the vport's number.
func (t *Table) Release(entry string) (odp.PortNo, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	no, ok := t.numbers[entry]
	if ok {
		p := t.ports[no]
		p.Entry = ""
		t.ports[no] = p
		delete(t.numbers, entry)
	}
	return no, ok
}

// Entry returns the name of a vport's entry, "" if it has none.
func (t *Table) Entry(no odp.PortNo) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ports[no].Entry
}

// Number returns the vport of an entry.
func (t *Table) Number(entry string) (odp.PortNo, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	no, ok := t.numbers[entry]
	return no, ok
}

// Ports returns all vports in the order of their numbers. The caller owns them.
func (t *Table) Ports() []Port {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Port, 0, len(t.ports))
	for _, p := range t.ports {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Port) int { return int(a.No) - int(b.No) })
	return list
}
