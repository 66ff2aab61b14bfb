package forward

import "dpifd/internal/odp"

// Flush removes the MACs that selects picks by VLAN and port, and returns their number. Static
// MACs stay. Flows are re-decided, so packets to a removed MAC are flooded until it is learned
// again; uses of flows before nowMS do not count.
func (l *Learning) Flush(nowMS int64, selects func(vlan uint16, port odp.PortNo) bool) int {
	l.expiredMS.Store(nowMS)
	n := l.table.flush(selects)
	if n > 0 {
		l.generation.Add(1)
	}
	return n
}

func (t *table) flush(selects func(vlan uint16, port odp.PortNo) bool) (n int) {
	for i := range t.entries {
		t.mu.Lock()
		e := &t.entries[i]
		if e.seen.Load() != never && selects(uint16(e.key>>48), e.port) {
			t.remove(int32(i))
			n++
		}
		t.mu.Unlock()
	}
	return n
}
