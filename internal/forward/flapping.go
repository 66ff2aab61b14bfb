package forward

import (
	"cmp"
	"slices"

	"dpifd/internal/odp"
)

// A MAC is flapping if it moves flapMoves times within flapWindow and returns to an earlier port. A
// MAC that moves to another machine or to a standby does not flap.
const (
	flapMoves  = 3
	flapWindow = 10_000 // ms; also the minimum time between two reports of a MAC
	flapSlots  = 16     // MACs whose moves are counted
	flapPorts  = 4      // maximum number of ports reported for a MAC
)

// Flapping describes the moves of a MAC that moves back and forth between ports.
type Flapping struct {
	VLAN   uint16
	MAC    odp.MAC
	Ports  []odp.PortNo // its ports, at most flapPorts
	Moves  uint64
	OverMS int64 // time from the first to the last move
}

// flaps counts moves of the MACs that moved recently. If more MACs move than there are slots, one
// slot is reused for each new MAC and the others keep theirs, so that MACs that move again are
// detected. The table's mutex guards it.
type flaps struct {
	slots [flapSlots]flap
	found func() // called when there is a MAC to report; must not block
}

type flap struct {
	key             uint64
	moves           uint64 // 0 for a free slot, or one whose MAC was just reported
	firstMS, lastMS int64  // of the moves
	toldMS          int64  // time of the last report, 0 for none
	back            bool   // one of the moves was to an earlier port
	ports           [flapPorts]odp.PortNo
	nPorts          int
}

// moved records one move.
func (s *flaps) moved(key uint64, from, to odp.PortNo, nowMS int64) {
	f := s.slot(key, nowMS)
	if f.key != key || nowMS-f.lastMS > flapWindow {
		*f = flap{key: key}
	}
	if f.moves == 0 || f.moves < flapMoves && nowMS-f.firstMS > flapWindow {
		*f = flap{key: key, firstMS: nowMS, toldMS: f.toldMS}
		f.was(from)
	}
	f.moves, f.lastMS = f.moves+1, nowMS
	f.back = f.was(to) || f.back
	if f.due(nowMS) && s.found != nil {
		s.found()
	}
}

// slot returns the slot of a MAC, or the one to use for it.
func (s *flaps) slot(key uint64, nowMS int64) *flap {
	least, fewest := &s.slots[0], ^uint64(0)
	for i := range s.slots {
		f := &s.slots[i]
		if f.key == key {
			return f
		}
		n := f.moves
		switch {
		case nowMS-f.lastMS > flapWindow:
			n = 0
		case f.toldMS != 0:
			n += flapMoves // do not report it again too soon
		}
		if n < fewest {
			least, fewest = f, n
		}
	}
	return least
}

// was records a port of the MAC, and reports whether it was recorded before.
func (f *flap) was(port odp.PortNo) bool {
	if slices.Contains(f.ports[:f.nPorts], port) {
		return true
	}
	if f.nPorts < flapPorts {
		f.ports[f.nPorts] = port
		f.nPorts++
	}
	return false
}

func (f *flap) due(nowMS int64) bool {
	return f.moves >= flapMoves && f.back && (f.toldMS == 0 || nowMS-f.toldMS >= flapWindow)
}

// take returns up to n MACs to report, those with the most moves, and the number of the others.
func (s *flaps) take(nowMS int64, n int) (list []Flapping, others int) {
	var due []*flap
	for i := range s.slots {
		if s.slots[i].due(nowMS) {
			due = append(due, &s.slots[i])
		}
	}
	slices.SortStableFunc(due, func(a, b *flap) int { return cmp.Compare(b.moves, a.moves) })
	for _, f := range due[:min(n, len(due))] {
		list = append(list, Flapping{VLAN: uint16(f.key >> 48), MAC: odp.MACFromUint64(f.key),
			Ports: slices.Clone(f.ports[:f.nPorts]), Moves: f.moves, OverMS: f.lastMS - f.firstMS})
		f.moves, f.toldMS = 0, nowMS
	}
	return list, len(due) - len(list)
}

// TakeFlapping implements MACTable.
func (l *Learning) TakeFlapping(nowMS int64, n int) ([]Flapping, int) {
	l.table.mu.Lock()
	defer l.table.mu.Unlock()
	return l.table.flaps.take(nowMS, n)
}
