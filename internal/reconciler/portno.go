package reconciler

import (
	"maps"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
)

// quarantine keeps the numbers of ports that have gone from being given to new ones
// for as long as flows may lead to them, or from them: such flows would deliver
// to the wrong device, and have its number learned for the former's stations.
type quarantine struct {
	sweeps FlowSweeps
	until  map[odp.PortNo]uint64 // number of looks that ends it
}

func newQuarantine(s FlowSweeps) quarantine { return quarantine{s, map[odp.PortNo]uint64{}} }

// add begins the quarantine of numbers that the policy does not know any more. All
// flows that were decided before are in the kernel.
func (q *quarantine) add(gone []odp.PortNo) {
	// So the next cycle to begin finds all of it. One may be under way.
	q.sweeps.RequestFullDump()
	until := q.sweeps.Looks() + 2
	for _, no := range gone {
		q.until[no] = until
	}
}

// free returns the numbers that no vport has, no flow can lead to, and no port is
// served under. The kernel would take up that of a vport which went after they were
// listed.
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

// freeNumbers gives out numbers for ports to be attached.
type freeNumbers struct {
	taken map[odp.PortNo]bool
	next  odp.PortNo // all below are taken
}

// take takes the lowest free number. 0, when there is none, leaves it to the
// kernel to say so.
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
