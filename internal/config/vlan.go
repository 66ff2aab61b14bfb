package config

import (
	"errors"
	"fmt"
	"strings"

	"dpifd/internal/forward"
)

// maxVLAN is the last VLAN id; 0 means no VLAN, and 4095 is reserved.
const maxVLAN = 4094

// vlanRange reads a forward.VLANRange.
type vlanRange forward.VLANRange

// parseScalar implements scalarParser.
func (r *vlanRange) parseScalar(text string) error {
	first, last, isRange := strings.Cut(text, "-")
	if !isRange {
		last = first
	}
	for _, end := range []struct {
		text string
		to   *uint16
	}{{first, &r.First}, {last, &r.Last}} {
		n, err := parseInt(end.text)
		if err != nil {
			return fmt.Errorf("want a VLAN, such as 10, or a range, such as 20-29, not %q", abbreviate(text))
		}
		if n < 1 || n > maxVLAN {
			return fmt.Errorf("VLAN %d is out of range; want 1 to %d", n, maxVLAN)
		}
		*end.to = uint16(n)
	}
	if r.First > r.Last {
		return fmt.Errorf("the range %s ends before it begins", text)
	}
	return nil
}

// vlan checks the VLANs of a port.
func (d *decoder) vlan(path string, v *forward.VLANConfig) {
	at := func(key string) bool { _, set := d.at[path+"."+key]; return set }
	if at("trunk") && len(v.Trunk) == 0 && !d.bad[path] {
		d.check(errors.New("is empty; without it the port is a trunk of all VLANs"), path+".trunk")
	}
	for _, key := range []string{"trunk", "native"} {
		if at("access") && at(key) {
			d.check(errors.New("cannot be combined with vlan.access: a port is an access port or a trunk"), path+"."+key)
		}
	}
	if d.bad[path] {
		return
	}
	for i, r := range v.Trunk {
		for j, q := range v.Trunk[:i] {
			if r.First <= q.Last && q.First <= r.Last {
				d.check(fmt.Errorf("%v overlaps %v, entry %d", r, q, j), fmt.Sprintf("%s.trunk[%d]", path, i))
				break
			}
		}
	}
}
