package revalidator

import (
	"fmt"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// spoofedShare limits dumps for spoofed flows to a twentieth of a core.
const spoofedShare = 20

// spoofed credits the packets of flows that drop what a port may not send, recognised by their
// UFIDs, to the flows' in-ports. It belongs to the revalidator's goroutine.
type spoofed struct {
	credit func(in odp.PortNo, packets uint64)
	// flows are those of the current dump, before those of the previous one.
	flows, before map[dpif.UFID]spoofedFlow
	ask           *dpif.Batch // requests the keys of flows that a terse dump showed
	asked         []dpif.UFID
	pace          fullPace
}

// spoofedFlow is a flow as last seen.
type spoofedFlow struct {
	in       odp.PortNo
	known    bool   // in is known
	packets  uint64 // packets dropped by the flow
	credited uint64 // of these, already credited
}

func newSpoofed(dp *dpif.Datapath, credit func(odp.PortNo, uint64)) spoofed {
	return spoofed{
		credit: credit, ask: dp.NewBatch(),
		flows: map[dpif.UFID]spoofedFlow{}, before: map[dpif.UFID]spoofedFlow{},
	}
}

// due reports whether a dump would show packets that are not credited yet.
func (s *spoofed) due(b *Budget, now time.Time) bool {
	return (b.spoofed.Load() || len(s.before) > 0) && s.pace.allows(now, spoofedShare)
}

// begin prepares for a dump. A flow in flight may be missing in it.
func (s *spoofed) begin(b *Budget) {
	clear(s.flows)
	if b.spoofed.Swap(false) && b.InFlight() > 0 {
		b.spoofed.Store(true)
	}
}

// saw records a flow of the dump.
func (s *spoofed) saw(f *dpif.Flow) {
	if !f.HasUFID || !f.UFID.Spoofed() {
		return
	}
	g := s.before[f.UFID]
	if !g.known && f.Key != nil {
		in, err := odp.InPort(f.Key)
		g.in, g.known = in, err == nil
	}
	g.packets = f.Packets
	s.flows[f.UFID] = g
}

// adopt treats the drops of the dumped flows so far as credited, because they happened before this
// process.
func (s *spoofed) adopt() {
	for id, f := range s.flows {
		f.credited = f.packets
		s.flows[id] = f
	}
	s.flows, s.before = s.before, s.flows
}

// finish credits the drops of the dumped flows since they were last seen. start is the start of the
// dump. For flows without keys it requests these from the kernel.
func (s *spoofed) finish(dp *dpif.Datapath, start time.Time) error {
	s.flows, s.before = s.before, s.flows
	if len(s.before) == 0 {
		return nil
	}
	s.ask.Reset()
	s.asked = s.asked[:0]
	for id, f := range s.before {
		if f.known {
			s.settle(id, f)
			continue
		}
		s.ask.GetFlow(&dpif.Flow{UFID: id, HasUFID: true})
		s.asked = append(s.asked, id)
	}
	var err error
	if len(s.asked) > 0 {
		err = dp.Transact(s.ask, func(i int, f *dpif.Flow, err error) {
			if err != nil || f == nil {
				return // deleted, or requested after the next dump
			}
			id := s.asked[i]
			g := s.before[id]
			if g.in, err = odp.InPort(f.Key); err == nil {
				g.known, g.packets = true, f.Packets
				s.settle(id, g)
			}
		})
	}
	s.pace.took(start, time.Now())
	if err != nil {
		return fmt.Errorf("flows of spoofed packets: %w", err)
	}
	return nil
}

// ended records the last state of a deleted flow.
func (s *spoofed) ended(f *dpif.Flow) {
	if !f.HasUFID || !f.UFID.Spoofed() {
		return
	}
	g := s.before[f.UFID]
	if in, err := odp.InPort(f.Key); err == nil {
		g.in, g.known, g.packets = in, true, f.Packets
		s.settle(f.UFID, g)
	}
	delete(s.before, f.UFID)
}

// settle credits the packets that are not credited yet.
func (s *spoofed) settle(id dpif.UFID, f spoofedFlow) {
	if f.packets > f.credited {
		s.credit(f.in, f.packets-f.credited)
	}
	f.credited = f.packets
	s.before[id] = f
}
