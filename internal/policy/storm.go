package policy

import "dpifd/internal/dpif"

// StormKind is a kind of packets that storm control limits.
type StormKind uint8

// Kinds of packets that are sent to several ports.
const (
	StormBroadcast StormKind = iota
	StormMulticast
	StormUnknownUnicast
	StormKinds // their number
)

// String returns the kind as the configuration names it.
func (k StormKind) String() string {
	return [...]string{"broadcast", "multicast", "unknown_unicast"}[k]
}

// Meter is a meter with its limit: packets of a kind that arrive at a port, given by the name of
// its entry.
type Meter struct {
	dpif.Meter
	Port string
	Kind StormKind
}

// StormDrops counts packets that meters have dropped, by kind.
type StormDrops [StormKinds]uint64

// Sum returns the number of packets of all kinds.
func (d *StormDrops) Sum() uint64 {
	n := uint64(0)
	for _, k := range d {
		n += k
	}
	return n
}
