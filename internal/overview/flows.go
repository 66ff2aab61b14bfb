package overview

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// Flows computes the rates of flows between two dumps of the flow table. The zero value has
// seen none.
type Flows struct {
	at  time.Time
	was map[string]counters
	now map[string]counters
}

// counters are the counters of a flow in a dump.
type counters struct{ packets, bytes uint64 }

// Flow is one flow with its rates per second.
type Flow struct {
	Packets, Bits float64
	Text          string // key and actions
}

// Begin starts a dump, or starts it again.
func (f *Flows) Begin() { f.now = make(map[string]counters, len(f.was)) }

// Add adds a flow, which is borrowed, and returns its rates. For a flow that was not in the
// previous dump they are computed from 0.
func (f *Flows) Add(flow *dpif.Flow, now time.Time) (packets, bits float64) {
	id := string(flow.UFID[:])
	if !flow.HasUFID {
		id = string(flow.Key)
	}
	c := counters{flow.Packets, flow.Bytes}
	f.now[id] = c
	if f.was == nil {
		return 0, 0
	}
	was, seconds := f.was[id], now.Sub(f.at).Seconds()
	return rate(was.packets, c.packets, seconds), 8 * rate(was.bytes, c.bytes, seconds)
}

// End ends a dump that was complete.
func (f *Flows) End(now time.Time) { f.at, f.was, f.now = now, f.now, nil }

// Busiest keeps the flows with the highest rates.
type Busiest struct {
	N         int  // how many
	ByPackets bool // else by bits
	list      []Flow
}

// Add adds a flow, unless N others are busier. text is called for flows that are kept.
func (b *Busiest) Add(packets, bits float64, flow *dpif.Flow, t *odp.Text) {
	f := Flow{Packets: packets, Bits: bits}
	i, _ := slices.BinarySearchFunc(b.list, f, b.compare)
	if i >= b.N {
		return
	}
	f.Text = string(t.AppendActions(append(t.AppendKey(nil, flow.Key, flow.Mask), " actions:"...), flow.Actions))
	b.list = slices.Insert(b.list, i, f)
	b.list = b.list[:min(len(b.list), b.N)]
}

func (b *Busiest) compare(x, y Flow) int {
	if b.ByPackets {
		return cmp.Compare(y.Packets, x.Packets)
	}
	return cmp.Compare(y.Bits, x.Bits)
}

// AppendText appends a line for each flow, the busiest first.
func (b *Busiest) AppendText(dst []byte) []byte {
	dst = fmt.Appendf(dst, "%9s %9s  %s\n", "packets/s", "bit/s", "flow")
	for _, f := range b.list {
		dst = fmt.Appendf(dst, "%9s %9s  %s\n", number(f.Packets), number(f.Bits), f.Text)
	}
	return dst
}
