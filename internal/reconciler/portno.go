package reconciler

import (
	"maps"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// quarantine prevents that new ports get the numbers of removed ports while flows may still
// lead to or from these numbers. Such flows would deliver packets to the wrong device, and the
// policy would learn the stations of the removed port at the new one.
type quarantine struct {
	sweeps FlowSweeps
	until  map[odp.PortNo]uint64 // number of looks that ends it
}

func newQuarantine(s FlowSweeps) quarantine { return quarantine{s, map[odp.PortNo]uint64{}} }

// add begins the quarantine of numbers that the policy no longer knows. All flows decided
// earlier must be in the kernel.
func (q *quarantine) add(gone []odp.PortNo) {
	// So the next cycle that begins finds all these flows. Another may be running.
	q.sweeps.RequestFullDump()
	until := q.sweeps.Looks() + 2
	for _, no := range gone {
		q.until[no] = until
	}
}

// free returns the numbers that no vport and no served port has, and to which no flow can lead.
// The kernel itself could reuse the number of a vport that was removed after the list was read.
func (q *quarantine) free(vports []dpif.Vport, served []odp.PortNo) *freeNumbers {
	looks := q.sweeps.Looks()
	maps.DeleteFunc(q.until, func(_ odp.PortNo, until uint64) bool { return looks >= until })
	f := &freeNumbers{taken: make(map[odp.PortNo]bool, len(vports)), next: 1}
	for _, v := range vports {
		f.taken[v.No] = true
	}
	for no := range q.until {
		f.taken[no] = true
	}
	for _, no := range served {
		f.taken[no] = true
	}
	return f
}

// freeNumbers assigns numbers to ports that will be attached.
type freeNumbers struct {
	taken map[odp.PortNo]bool
	next  odp.PortNo // all below are taken
}

// take returns the lowest free number, or 0 if there is none: then the kernel reports the error.
func (f *freeNumbers) take() odp.PortNo {
	for ; f.next < odp.MaxPorts; f.next++ {
		if !f.taken[f.next] {
			f.taken[f.next] = true
			return f.next
		}
	}
	return 0
}

// giveBack frees a number that no port got.
func (f *freeNumbers) giveBack(no odp.PortNo) {
	if no != 0 {
		delete(f.taken, no)
		f.next = min(f.next, no)
	}
}

// byNo finds vports by their numbers.
func byNo(vports []dpif.Vport) map[odp.PortNo]*dpif.Vport {
	m := make(map[odp.PortNo]*dpif.Vport, len(vports))
	for i := range vports {
		m[vports[i].No] = &vports[i]
	}
	return m
}
