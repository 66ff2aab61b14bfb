package forward

import (
	"maps"
	"slices"
	"sync/atomic"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// StormConfig limits the flooded packets per second from a port, by kind; 0 is no limit.
type StormConfig struct {
	Broadcast      uint32 `yaml:"broadcast" unit:"rate" min:"1/s" max:"10000000/s" optional:"true"`
	Multicast      uint32 `yaml:"multicast" unit:"rate" min:"1/s" max:"10000000/s" optional:"true"`
	UnknownUnicast uint32 `yaml:"unknown_unicast" unit:"rate" min:"1/s" max:"10000000/s" optional:"true"`
}

// stormMeters are the meters of one port by kind, 0 where there is no limit.
type stormMeters [policy.StormKinds]uint32

// meterTable assigns a meter to each limit of each port. A port keeps its meters while it
// exists, because flows name them.
type meterTable struct {
	byPort map[string]stormMeters // by SetPorts alone
	list   atomic.Pointer[[]policy.Meter]
}

// assign gives meters to the ports in cfg, and returns them by the port's name.
func (t *meterTable) assign(cfg PortConfigs) map[string]stormMeters {
	byPort, list, taken := map[string]stormMeters{}, []policy.Meter{}, map[uint32]bool{}
	for name, m := range t.byPort {
		if _, stays := cfg[name]; stays {
			for _, id := range m {
				taken[id] = true
			}
		}
	}
	free := uint32(1)
	for _, name := range slices.Sorted(maps.Keys(cfg)) {
		m, s := t.byPort[name], cfg[name].Storm
		for kind, rate := range [...]uint32{s.Broadcast, s.Multicast, s.UnknownUnicast} {
			if rate == 0 {
				continue
			}
			if m[kind] == 0 {
				for taken[free] {
					free++
				}
				m[kind], taken[free] = free, true
			}
			list = append(list, policy.Meter{Meter: dpif.Meter{ID: m[kind], PacketsPerSecond: rate},
				Port: name, Kind: policy.StormKind(kind)})
		}
		if m != (stormMeters{}) {
			byPort[name] = m
		}
	}
	t.byPort = byPort
	t.list.Store(&list)
	return byPort
}

// Meters implements policy.MeterPolicy.
func (l *Learning) Meters() []policy.Meter { return *l.meters.list.Load() }

// UseMeters implements policy.MeterPolicy.
func (l *Learning) UseMeters(ok bool) {
	if len(l.Meters()) > 0 && l.metered.Swap(ok) != ok {
		l.generation.Add(1)
	}
}

// limit appends the meter action for packets of a kind.
func (l *Learning) limit(e *netlink.Encoder, f *frame, kind policy.StormKind) {
	if f.in != nil && f.in.meters[kind] != 0 && l.metered.Load() {
		odp.AppendMeter(e, f.in.meters[kind])
	}
}

// stormKind returns the kind of a multicast packet by its destination.
func stormKind(dst odp.MAC) policy.StormKind {
	if dst.IsBroadcast() {
		return policy.StormBroadcast
	}
	return policy.StormMulticast
}
