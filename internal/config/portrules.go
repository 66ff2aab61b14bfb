package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"dpifd/internal/device"
	"dpifd/internal/odp"
)

func (d *decoder) ports(c *Config) {
	first, patterns := make(map[string]int, len(c.Ports)), make(map[string]int)
	for i, p := range c.Ports {
		entry := fmt.Sprintf("ports[%d]", i)
		path := entry + ".name"
		_, named := d.at[path]
		_, pattern := d.at[entry+".match"]
		switch {
		case named && pattern:
			d.check(errors.New("a port has a name or a pattern (match), not both"), entry+".match")
		case !named && !pattern && !d.bad[entry]:
			d.check(errors.New("a port has no name"), entry)
		}
		d.vlan(entry+".vlan", &c.Ports[i].VLAN)
		d.isolation(entry, &c.Ports[i])
		d.allow(entry, &c.Ports[i].Allow)
		if d.bad[entry] {
			continue
		}
		if pattern {
			d.pattern(&p, entry, patterns)
			d.portKind(&p, entry)
			continue
		}
		if !d.check(deviceName(p.Name), path) {
			continue
		}
		line := d.at[path].Line
		if earlier, dup := first[p.Name]; dup {
			d.check(fmt.Errorf("duplicate port %q; the first is on line %d", p.Name, earlier), path)
			continue
		}
		first[p.Name] = line
		if p.Name == c.Datapath.Name && p.Type != PortInternal && !d.bad["datapath.name"] {
			d.check(fmt.Errorf("%q is the datapath's own local port, which is of type internal", p.Name), path)
		}
		d.portKind(&p, entry)
	}
	d.tunnels(c.Ports)
	d.mirrors(c.Ports)
	d.loopGuards(c.Ports)
}

// isolation checks that only isolated ports have a group.
func (d *decoder) isolation(entry string, p *Port) {
	var err error
	switch {
	case p.Group != "" && !p.Isolated:
		err = errors.New("is for isolated ports; set isolated: true as well")
	case p.Group != "" && strings.ContainsFunc(p.Group, func(c rune) bool {
		return !unicode.IsPrint(c) || unicode.IsSpace(c)
	}):
		err = fmt.Errorf("%q contains white space or a control character", abbreviate(p.Group))
	}
	d.check(err, entry+".group")
}

// maxVNI is the greatest network identifier of VXLAN and Geneve, which have 24
// bits for it.
const maxVNI = 1<<24 - 1

// UDP ports that IANA assigned to the protocols.
const (
	vxlanPort  = 4789
	genevePort = 6081
)

// DstPort returns the UDP port of a tunnel port: the configured one or the
// protocol's own, 0 for GRE, which has none.
func (p *Port) DstPort() uint16 {
	switch {
	case p.Tunnel.DstPort != 0:
		return uint16(p.Tunnel.DstPort)
	case p.Type == PortVXLAN:
		return vxlanPort
	case p.Type == PortGeneve:
		return genevePort
	}
	return 0
}

// Device returns the device of a tunnel port, which other tunnel ports may
// share.
func (p *Port) Device() device.Tunnel {
	t := device.Tunnel{DstPort: p.DstPort()}
	switch {
	case p.Type == PortVXLAN:
		t.Kind = device.VXLAN
	case p.Type == PortGeneve:
		t.Kind = device.Geneve
	case p.Tunnel.Remote.Is6():
		t.Kind = device.GRE6
	default:
		t.Kind = device.GRE
	}
	return t
}

// portKind checks that a port has only settings of its type.
func (d *decoder) portKind(p *Port, entry string) {
	only := func(set bool, key, kinds string) {
		if set {
			d.check(fmt.Errorf("port %q is of type %s; only %s has this", p.Name, p.Type, kinds), entry+"."+key, entry)
		}
	}
	if p.Type != PortInternal {
		only(len(p.Address) > 0, "address", "an internal port")
		only(p.Up, "up", "an internal port")
		only(p.MTU != 0, "mtu", "an internal port")
		only(p.MAC != odp.MAC{}, "mac", "an internal port")
	}
	if !p.Type.IsTunnel() {
		only(p.Tunnel != (Tunnel{}), "tunnel", "a tunnel (vxlan, geneve, gre)")
		return
	}
	remote, local := entry+".tunnel.remote", entry+".tunnel.local"
	port, key := entry+".tunnel.dst_port", entry+".tunnel.key"
	t := &p.Tunnel
	switch {
	case d.bad[entry+".tunnel"]:
		return
	case !t.Remote.IsValid():
		d.check(fmt.Errorf("tunnel port %q has no remote address", p.Name), remote, entry+".tunnel", entry)
		return
	case t.Local.IsValid() && t.Local.Is4() != t.Remote.Is4():
		d.check(fmt.Errorf("%v and the remote address %v are not of the same family", t.Local, t.Remote), local)
	}
	if p.Type == PortGRE {
		only(t.DstPort != 0, "tunnel.dst_port", "vxlan or geneve")
	} else if t.Key > maxVNI {
		d.check(fmt.Errorf("%d is out of range; a %s network identifier is at most %d", t.Key, p.Type, maxVNI), key, port)
	}
}

// mirrors checks that each mirror port exists and is not mirrored itself.
func (d *decoder) mirrors(ports []Port) {
	for i, p := range ports {
		if p.MirrorTo == "" {
			continue
		}
		path := fmt.Sprintf("ports[%d].mirror_to", i)
		to := slices.IndexFunc(ports, func(q Port) bool { return q.Name == p.MirrorTo })
		switch {
		case p.MirrorTo == p.Name:
			d.check(errors.New("a port cannot be its own mirror"), path)
		case to < 0:
			d.check(fmt.Errorf("the list has no port %q", abbreviate(p.MirrorTo)), path)
		case ports[to].MirrorTo != "":
			d.check(fmt.Errorf("port %q is mirrored itself", p.MirrorTo), path)
		}
	}
}

// tunnelID distinguishes the tunnel ports of one device.
type tunnelID struct {
	typ           PortType
	port          uint16
	remote, local Addr
	key           uint32
}

// tunnels checks that each packet from a tunnel belongs to one port, and that no port has the
// name of a tunnel device.
func (d *decoder) tunnels(ports []Port) {
	first := make(map[tunnelID]int)
	devices := make(map[string]int)
	for i := range ports {
		p := &ports[i]
		if !p.Type.IsTunnel() || d.bad[fmt.Sprintf("ports[%d]", i)] || d.bad[fmt.Sprintf("ports[%d].tunnel", i)] {
			continue
		}
		id := tunnelID{p.Type, p.DstPort(), p.Tunnel.Remote, p.Tunnel.Local, p.Tunnel.Key}
		if earlier, dup := first[id]; dup {
			d.check(fmt.Errorf("port %q has the remote address, key and port of %q on line %d", p.Name, ports[earlier].Name,
				d.at[fmt.Sprintf("ports[%d].name", earlier)].Line), fmt.Sprintf("ports[%d].tunnel", i))
			continue
		}
		first[id] = i
		devices[p.Device().Name()] = i
	}
	for i, p := range ports {
		if tunnel, taken := devices[p.Name]; taken {
			d.check(fmt.Errorf("%q is the device of tunnel port %q", p.Name, ports[tunnel].Name),
				fmt.Sprintf("ports[%d].name", i))
		}
	}
}
