package revalidator

import (
	"maps"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// TestSpoofed: the packets of flows are counted once, whichever dumps show them.
func TestSpoofed(t *testing.T) {
	credited := map[odp.PortNo]uint64{}
	s := newSpoofed(&dpif.Datapath{}, func(in odp.PortNo, n uint64) { credited[in] += n })
	b := NewBudget(10)
	flow := func(id byte, in odp.PortNo, packets uint64) *dpif.Flow {
		f := &dpif.Flow{UFID: dpif.NewSpoofedUFID(uint64(id), 0), HasUFID: true, Packets: packets}
		if in != 0 {
			var e netlink.Encoder
			odp.AppendInPort(&e, in)
			f.Key = e.Bytes()
		}
		return f
	}
	dump := func(end func(), flows ...*dpif.Flow) {
		t.Helper()
		s.begin(b)
		for _, f := range flows {
			s.saw(f)
			s.saw(f) // a dump may show a flow twice
		}
		end()
	}
	finish := func() {
		if err := s.finish(nil, time.Now()); err != nil {
			t.Error(err)
		}
	}
	want := func(when string, want map[odp.PortNo]uint64) {
		t.Helper()
		if !maps.Equal(credited, want) {
			t.Errorf("%s: credited %v, want %v", when, credited, want)
		}
	}
	dump(s.adopt, flow(1, 3, 100), flow(2, 4, 0))
	want("flows of the process before", map[odp.PortNo]uint64{})
	other := flow(9, 3, 1000)
	other.UFID = dpif.NewUFID(9, 0)
	dump(finish, flow(1, 0, 107), flow(2, 0, 1), flow(5, 3, 20), other)
	want("a dump without keys of known flows", map[odp.PortNo]uint64{3: 27, 4: 1})
	s.begin(b)
	s.saw(flow(1, 0, 200)) // and the dump fails
	want("a dump that failed", map[odp.PortNo]uint64{3: 27, 4: 1})
	dump(finish, flow(1, 0, 208), flow(2, 0, 1), flow(5, 0, 20))
	want("the next one", map[odp.PortNo]uint64{3: 128, 4: 1})
	s.ended(flow(2, 4, 6))
	s.ended(flow(7, 4, 2)) // not seen in any dump
	want("flows deleted", map[odp.PortNo]uint64{3: 128, 4: 8})
	dump(finish)
	if len(s.before) != 0 || s.due(b, time.Now().Add(time.Hour)) {
		t.Error("deleted flows are kept")
	}

	b.Reserve()
	b.PutSpoofed()
	if !s.due(b, time.Now().Add(time.Hour)) {
		t.Error("a new flow is not awaited")
	}
	s.begin(b)
	if !b.spoofed.Load() {
		t.Error("a flow in flight is not awaited again")
	}
	b.Sent(1)
	s.begin(b)
	if b.spoofed.Load() {
		t.Error("an existing flow is awaited again")
	}
}
