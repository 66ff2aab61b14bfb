package dpif

import (
	"testing"

	"dpifd/internal/odp"
)

// TestNumbersRest: the number of a port that went is not given away before a
// cycle that began after that has looked at all flows.
func TestNumbersRest(t *testing.T) {
	r := &Revalidator{kick: make(chan struct{}, 1)}
	s := &Server{revalidator: r, vacated: map[odp.PortNo]uint64{}, channels: map[odp.PortNo]*channel{}}
	has := []Vport{{No: 0}, {No: 1}, {No: 4}}
	free := func(want odp.PortNo) {
		t.Helper()
		if got := s.freeNumber(has, nil); got != want {
			t.Errorf("after %d cycles the free number is %d, want %d", r.counters.looks.Load(), got, want)
		}
	}
	free(2)
	s.channels[2] = &channel{} // it went, and that is not known yet
	free(3)
	delete(s.channels, 2)
	s.vacate([]odp.PortNo{2, 3})
	if !r.full.Load() || len(r.kick) != 1 {
		t.Error("no cycle was asked for that looks at all flows")
	}
	free(5)
	r.counters.looks.Add(1) // the one that was under way
	free(5)
	r.counters.looks.Add(1)
	free(2)
	if got := s.freeNumber(has, []Vport{{No: 2}}); got != 3 {
		t.Errorf("beside a port added with number 2 the free number is %d, want 3", got)
	}
}
