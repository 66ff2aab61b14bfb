package forward

import (
	"sync/atomic"

	"dpifd/internal/odp"
)

const forgottenSlots = 1 << 16

// forgotten holds the ports of MACs that went from the table. Flows from such a MAC
// may still be in force at that port: its packets stay in the kernel and teach nothing. It
// holds hashes, so it may take a MAC for another: that costs a look at flows that need none.
type forgotten struct {
	slots [forgottenSlots]atomic.Uint32 // a port's number and 1; 0 for none
}

const severalPorts = ^uint32(0)

func (f *forgotten) slot(hash uint64) *atomic.Uint32 { return &f.slots[hash>>32%forgottenSlots] }

// add notes that a MAC went which was on the port.
func (f *forgotten) add(hash uint64, port odp.PortNo) {
	slot, is := f.slot(hash), uint32(port)+1
	if was := slot.Load(); was == is || was == 0 && slot.CompareAndSwap(0, is) {
		return
	}
	slot.Store(severalPorts)
}

// elsewhere removes a MAC that is learned on the port, and reports whether flows from it
// may be in force at another one.
func (f *forgotten) elsewhere(hash uint64, port odp.PortNo) bool {
	slot := f.slot(hash)
	if slot.Load() == 0 {
		return false
	}
	was := slot.Swap(0)
	return was != 0 && was != uint32(port)+1
}

// take removes a MAC and reports whether flows from it may be in force.
func (f *forgotten) take(hash uint64) bool {
	slot := f.slot(hash)
	return slot.Load() != 0 && slot.Swap(0) != 0
}
