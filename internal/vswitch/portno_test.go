package vswitch

import (
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// TestNumbersRest: the number of a port that went is not given away before a
// cycle that began after that has looked at all flows.
func TestNumbersRest(t *testing.T) {
	r := &Revalidator{kick: make(chan struct{}, 1)}
	s := &Server{revalidator: r, vacated: map[odp.PortNo]uint64{}, channels: map[odp.PortNo]*channel{}}
	has := []dpif.Vport{{No: 0}, {No: 1}, {No: 4}}
	free := func(want odp.PortNo) {
		t.Helper()
		if got := s.freeNumbers(has).take(); got != want {
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
	f := s.freeNumbers(has)
	for _, want := range []odp.PortNo{2, 3, 5} {
		if got := f.take(); got != want {
			t.Errorf("the next free number is %d, want %d", got, want)
		}
	}
	f.giveBack(3)
	f.giveBack(2)
	f.giveBack(0) // the kernel was to choose
	for _, want := range []odp.PortNo{2, 3, 6} {
		if got := f.take(); got != want {
			t.Errorf("after two were given back the next free number is %d, want %d", got, want)
		}
	}
}

// TestNumbersEnd: when all are taken, the kernel is to say so.
func TestNumbersEnd(t *testing.T) {
	f := freeNumbers{taken: map[odp.PortNo]bool{odp.MaxPorts - 2: true}, next: odp.MaxPorts - 2}
	for _, want := range []odp.PortNo{odp.MaxPorts - 1, 0, 0} {
		if got := f.take(); got != want {
			t.Errorf("the next free number is %d, want %d", got, want)
		}
	}
}
