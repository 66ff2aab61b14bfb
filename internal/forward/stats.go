package forward

import (
	"cmp"
	"slices"

	"dpifd/internal/odp"
)

// Stats are the counters of a MAC table since its policy was created. All except Entries and
// PortEntries only grow; Entries is Learned minus Expired, Evicted and Flushed.
type Stats struct {
	Entries int    // MACs in the table
	Learned uint64 // MACs learned
	Moved   uint64 // MACs that moved to another port
	Expired uint64 // removed by aging
	Evicted uint64 // removed to make room
	Flushed uint64 // removed with their port
	// PortEntries has the number of MACs of each port of the datapath, including zeros.
	PortEntries map[odp.PortNo]int
	// PortEvicted has the number of evicted MACs of each port of the datapath, including zeros.
	PortEvicted map[odp.PortNo]uint64
}

// MACEntry is one line of the MAC table.
type MACEntry struct {
	VLAN   uint16 // VLAN id, 0 for untagged
	MAC    odp.MAC
	Port   odp.PortNo
	SeenMS int64 // of CLOCK_MONOTONIC
}

// Stats returns the counters. The caller owns the result.
func (l *Learning) Stats() Stats {
	t := l.table
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.stats
	s.PortEntries = make(map[odp.PortNo]int, len(t.rings))
	s.PortEvicted = make(map[odp.PortNo]uint64, len(t.rings))
	for no, r := range t.rings {
		s.PortEntries[no], s.PortEvicted[no] = r.n, r.evicted
		s.Entries += r.n
	}
	return s
}

// Snapshot returns the MAC table, without static MACs, ordered by VLAN and MAC. The caller owns the
// result.
func (l *Learning) Snapshot() []MACEntry {
	all := l.table.snapshot()
	slices.SortFunc(all, func(a, b MACEntry) int {
		return cmp.Compare(macKey(a.VLAN, a.MAC), macKey(b.VLAN, b.MAC))
	})
	return all
}

func (t *table) snapshot() []MACEntry {
	t.mu.Lock()
	defer t.mu.Unlock()
	var all []MACEntry
	for _, r := range t.rings {
		for n, i := r.n, r.hand; n > 0; n, i = n-1, t.entries[i].next {
			e := &t.entries[i]
			all = append(all, MACEntry{
				VLAN: uint16(e.key >> 48), MAC: odp.MACFromUint64(e.key),
				Port: e.port, SeenMS: e.seen.Load(),
			})
		}
	}
	return all
}
