package forward

import (
	"sync/atomic"

	"dpifd/internal/odp"
)

const forgottenSlots = 1 << 16

// forgotten contains the ports of MACs that were removed from the table. Flows from such a MAC
// may still be installed at that port, so its packets stay in the kernel and are not learned
// from. It contains hashes, so it may confuse two MACs, which costs an unnecessary check of
// flows.
type forgotten struct {
	slots [forgottenSlots]atomic.Uint32 // a port number plus 1; 0 for none
}

const severalPorts = ^uint32(0)

func (f *forgotten) slot(hash uint64) *atomic.Uint32 { return &f.slots[hash>>32%forgottenSlots] }

// add records the removal of a MAC on the port.
func (f *forgotten) add(hash uint64, port odp.PortNo) {
	slot, is := f.slot(hash), uint32(port)+1
	if was := slot.Load(); was == is || was == 0 && slot.CompareAndSwap(0, is) {
		return
	}
	slot.Store(severalPorts)
}

// elsewhere removes a MAC that is learned on the port, and reports whether flows from it may be
// installed at another port.
func (f *forgotten) elsewhere(hash uint64, port odp.PortNo) bool {
	slot := f.slot(hash)
	if slot.Load() == 0 {
		return false
	}
	was := slot.Swap(0)
	return was != 0 && was != uint32(port)+1
}

// take removes a MAC and reports whether flows from it may be installed.
func (f *forgotten) take(hash uint64) bool {
	slot := f.slot(hash)
	return slot.Load() != 0 && slot.Swap(0) != 0
}
