package forward

import (
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// tagging is how many bytes of actions change a tag. A VLAN whose flood is longer by no more
// than that is not told from another.
const tagging = 16

// LongestFlood returns about how many bytes of actions a flood takes at most when the
// ports of these names are in the datapath, devices of tunnels among them, and a VLAN in
// which it does.
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
