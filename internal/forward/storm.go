package forward

import (
	"maps"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// StormConfig is how many packets a second from a port are sent to more than one
// port at most, by kind; 0 is no limit.
type StormConfig struct {
	Broadcast      uint32 `yaml:"broadcast" unit:"rate" min:"1/s" max:"10000000/s" optional:"true"`
	Multicast      uint32 `yaml:"multicast" unit:"rate" min:"1/s" max:"10000000/s" optional:"true"`
	UnknownUnicast uint32 `yaml:"unknown_unicast" unit:"rate" min:"1/s" max:"10000000/s" optional:"true"`
}

// Kinds of packets that storm control counts apart.
const (
	stormBroadcast = iota
	stormMulticast
	stormUnicast
	stormKinds
)

// stormMeters are the meters of one port by kind, 0 where there is no limit.
type stormMeters [stormKinds]uint32

// meters gives each limit a meter, the same ones for the same settings.
func (c PortConfigs) meters() (byPort map[string]stormMeters, list []dpif.Meter) {
	byPort = map[string]stormMeters{}
	for _, name := range slices.Sorted(maps.Keys(c)) {
		var m stormMeters
		s := c[name].Storm
		for kind, rate := range [stormKinds]uint32{s.Broadcast, s.Multicast, s.UnknownUnicast} {
			if rate > 0 {
				m[kind] = uint32(len(list) + 1)
				list = append(list, dpif.Meter{ID: m[kind], PacketsPerSecond: rate})
			}
		}
		if m != (stormMeters{}) {
			byPort[name] = m
		}
	}
	return byPort, list
}

// Meters implements policy.MeterPolicy.
func (l *Learning) Meters() []dpif.Meter { return l.meters }

// UseMeters implements policy.MeterPolicy.
func (l *Learning) UseMeters(ok bool) {
	if len(l.meters) > 0 && l.metered.Swap(ok) != ok {
		l.generation.Add(1)
	}
}

// limit appends what lets only so many packets of a kind pass.
func (l *Learning) limit(e *netlink.Encoder, f *frame, kind int) {
	if f.in != nil && f.in.meters[kind] != 0 && l.metered.Load() {
		odp.AppendMeter(e, f.in.meters[kind])
	}
}

// stormKind returns the kind of a multicast packet by its destination.
func stormKind(dst odp.MAC) int {
	if dst.IsBroadcast() {
		return stormBroadcast
	}
	return stormMulticast
}
