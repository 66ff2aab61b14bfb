package forward

import (
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// tagging is the size in bytes of actions that change a tag. VLANs whose floods differ by no more
// than that are considered equal.
const tagging = 16

// LongestFlood returns the approximate maximum size in bytes of a flood's actions when the datapath
// has ports with these names, including devices of tunnels, and a VLAN with that size.
func LongestFlood(cfg PortConfigs, names []string) (bytes int, vlan uint16) {
	list := make([]policy.Port, len(names))
	for i, name := range names {
		list[i] = policy.Port{No: odp.PortNo(i + 1), Name: name}
	}
	set := newPortSet(list, cfg, nil)
	seen := make([]bool, len(set.domains))
	var e netlink.Encoder
	for v := range uint16(vlanIDs) {
		number := set.domainOf[v]
		if seen[number] {
			continue
		}
		seen[number] = true
		for i := range set.ports {
			f := frame{in: &set.ports[i], vlan: v}
			if !f.in.carries(v) {
				continue
			}
			e.Clear()
			f.received(&e)
			set.flood(&e, &f)
			if e.Len() > bytes+tagging {
				bytes, vlan = e.Len(), v
			}
			if f.in.isolation == 0 {
				break // from the other ports the length is the same except for a few bytes
			}
		}
	}
	return bytes, vlan
}
