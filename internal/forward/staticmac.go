package forward

import (
	"fmt"

	"dpifd/internal/odp"
)

// StaticMAC is a MAC with a fixed port. In a VLAN that the port does not carry, or while the
// port does not exist, packets for it are flooded.
type StaticMAC struct {
	MAC  odp.MAC `yaml:"mac"`
	Port string  `yaml:"port"`
	// VLAN is 0 for untagged frames on a trunk.
	VLAN uint16 `yaml:"vlan" min:"1" max:"4094" optional:"true"`
}

func checkStaticMACs(list []StaticMAC, shared bool) error {
	seen := map[uint64]bool{}
	for _, s := range list {
		if s.MAC.IsMulticast() || s.MAC.IsZero() || s.VLAN > maxVLAN {
			return fmt.Errorf("static MAC %v in VLAN %d on port %s is not a unicast address", s.MAC, s.VLAN, s.Port)
		}
		key := macKey(s.VLAN, s.MAC)
		if shared {
			key = macKey(0, s.MAC)
		}
		if seen[key] {
			return fmt.Errorf("static MAC %v in VLAN %d is listed twice", s.MAC, s.VLAN)
		}
		seen[key] = true
	}
	return nil
}

// fix adds the static MACs to a set of ports.
func (l *Learning) fix(set *portSet) {
	if len(l.statics) == 0 {
		return
	}
	set.fixed = make(map[uint64]*port, len(l.statics))
	for _, s := range l.statics {
		key := l.macKey(s.VLAN, s.MAC)
		set.fixed[key] = nil
		for i := range set.ports {
			if p := &set.ports[i]; p.name == s.Port {
				set.fixed[key] = p
			}
		}
	}
}

// Static returns the static MACs whose ports exist, in no order. Their SeenMS is 0.
func (l *Learning) Static() []MACEntry {
	var all []MACEntry
	for key, p := range l.load().fixed {
		if p != nil {
			all = append(all, MACEntry{VLAN: uint16(key >> 48), MAC: odp.MACFromUint64(key), Port: p.no})
		}
	}
	return all
}
