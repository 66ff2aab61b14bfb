package reconciler

import (
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// sweepCount is a revalidator that only counts.
type sweepCount struct {
	looks uint64
	asked int
}

func (s *sweepCount) Looks() uint64    { return s.looks }
func (s *sweepCount) RequestFullDump() { s.asked++ }

// TestNumbersQuarantined: the number of a removed port is not assigned again until a cycle that began
// after the removal has read all flows.
func TestNumbersQuarantined(t *testing.T) {
	r := &sweepCount{}
	q := newQuarantine(r)
	has := []dpif.Vport{{No: 0}, {No: 1}, {No: 4}}
	free := func(want odp.PortNo, served ...odp.PortNo) {
		t.Helper()
		if got := q.free(has, served).take(); got != want {
			t.Errorf("after %d cycles the free number is %d, want %d", r.looks, got, want)
		}
	}
	free(2)
	free(3, 2) // removed, but not reported yet
	q.add([]odp.PortNo{2, 3})
	if r.asked != 1 {
		t.Error("no full dump was requested")
	}
	free(5)
	r.looks++ // the cycle that was running
	free(5)
	r.looks++
	free(2)
	f := q.free(has, nil)
	for _, want := range []odp.PortNo{2, 3, 5} {
		if got := f.take(); got != want {
			t.Errorf("the next free number is %d, want %d", got, want)
		}
	}
	f.giveBack(3)
	f.giveBack(2)
	f.giveBack(0) // chosen by the kernel
	for _, want := range []odp.PortNo{2, 3, 6} {
		if got := f.take(); got != want {
			t.Errorf("after two were given back the next free number is %d, want %d", got, want)
		}
	}
}

// TestNumbersEnd: when all numbers are in use, the kernel must report it.
func TestNumbersEnd(t *testing.T) {
	f := freeNumbers{taken: map[odp.PortNo]bool{odp.MaxPorts - 2: true}, next: odp.MaxPorts - 2}
	for _, want := range []odp.PortNo{odp.MaxPorts - 1, 0, 0} {
		if got := f.take(); got != want {
			t.Errorf("the next free number is %d, want %d", got, want)
		}
	}
}
