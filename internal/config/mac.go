package config

import (
	"errors"
	"fmt"
	"net"

	"dpifd/internal/odp"
)

// mac reads an odp.MAC: the address of one station.
type mac odp.MAC

// parseScalar implements scalarParser.
func (m *mac) parseScalar(text string) error {
	a, err := net.ParseMAC(text)
	if err != nil || len(a) != len(m) {
		return fmt.Errorf("want a MAC, such as 02:00:5e:00:00:01, not %q", abbreviate(text))
	}
	*m = mac(a)
	switch {
	case m[0]&1 != 0:
		return fmt.Errorf("%v is a multicast address, not a station", odp.MAC(*m))
	case *m == mac{}:
		return errors.New("the zero address is not a station")
	}
	return nil
}

// staticMACs checks that each entry is complete and no MAC has two ports.
func (d *decoder) staticMACs(p *Policy) {
	type place struct {
		vlan uint16
		mac  odp.MAC
	}
	first := map[place]int{}
	for i, s := range p.StaticMACs {
		entry := fmt.Sprintf("policy.static_macs[%d]", i)
		for _, key := range []string{"mac", "port"} {
			if _, set := d.at[entry+"."+key]; !set && !d.bad[entry] {
				d.check(fmt.Errorf("a static MAC has no %s", key), entry)
			}
		}
		if d.bad[entry] || !d.check(deviceName(s.Port), entry+".port") {
			continue
		}
		at := place{s.VLAN, s.MAC}
		if p.SharedLearning {
			at.vlan = 0
		}
		if earlier, twice := first[at]; twice {
			d.check(fmt.Errorf("%v is listed twice; the first is on line %d", s.MAC, earlier), entry+".mac")
			continue
		}
		first[at] = d.at[entry+".mac"].Line
	}
}
