package forward

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// FirstTunnelNo is the lowest number of tunnels. The numbers of the datapath's ports are
// smaller (DP_MAX_PORTS).
const FirstTunnelNo odp.PortNo = 1 << 16

// TunnelConfig makes a port a tunnel. The datapath only knows the device, a port that many
// tunnels may share, so the tunnel has a separate number.
type TunnelConfig struct {
	No     odp.PortNo // FirstTunnelNo or greater, unique
	Device string     // name of the datapath's port
	Remote netip.Addr // the peer
	Local  netip.Addr // this side; not valid: any
	Key    uint64
	// KeyOptional says that packets carry a key only if it is not 0 (GRE).
	KeyOptional bool
	DstPort     uint16 // UDP destination port, 0 without UDP
	TTL         uint8
	TOS         uint8
	// TOSInherit copies the TOS of the inner packet, 0 if that is not IP. All decisions of a
	// policy with such a tunnel read it.
	TOSInherit bool
	CSum       bool
}

func (t *TunnelConfig) check() error {
	switch {
	case t == nil:
		return nil
	case t.No < FirstTunnelNo:
		return fmt.Errorf("number %d of a tunnel is one of the datapath's", t.No)
	case t.Device == "":
		return errors.New("a tunnel without device")
	case !t.Remote.IsValid():
		return errors.New("a tunnel without peer")
	case t.Local.IsValid() && t.Local.Is4() != t.Remote.Is4():
		return fmt.Errorf("tunnel addresses %v and %v are not of one family", t.Local, t.Remote)
	}
	return nil
}

// set returns the action that chooses the tunnel.
func (t *TunnelConfig) set(tos uint8) odp.SetTunnel {
	return odp.SetTunnel{
		ID: t.Key, HasID: t.Key != 0 || !t.KeyOptional, Src: t.Local, Dst: t.Remote, TOS: tos, TTL: t.TTL,
		DontFragment: true,
		// UDP over IPv6 must have a checksum (RFC 8200, 8.1).
		CSum: t.CSum || t.Remote.Is6() && t.DstPort != 0, DstPort: t.DstPort,
	}
}

// resolve makes p the tunnel's port, behind the device with the given number.
func (t *TunnelConfig) resolve(p *port, device odp.PortNo) {
	build := func(tos uint8) ([]byte, int) {
		var e netlink.Encoder
		set := t.set(tos)
		at := odp.AppendSetTunnel(&e, &set)
		odp.AppendOutput(&e, device)
		return e.Bytes(), at
	}
	p.no = t.No
	p.output, _ = build(t.TOS)
	if t.TOSInherit {
		p.output, _ = build(0)
		p.withTOS, p.tosAt = build(odp.DSCPMask)
	}
}

// device is a port of the datapath that carries tunnels.
type device struct {
	no odp.PortNo
	// tunnels has the numbers of its tunnel ports by key; Dst is not valid for those that
	// accept any local address.
	tunnels map[odp.TunnelKey]odp.PortNo
}

// tunnelsOf returns the names of the tunnels of each device.
func (c PortConfigs) tunnelsOf() map[string][]string {
	var all map[string][]string
	for name, p := range c {
		if p.Tunnel == nil {
			continue
		}
		if all == nil {
			all = map[string][]string{}
		}
		all[p.Tunnel.Device] = append(all[p.Tunnel.Device], name)
	}
	return all
}

// addDevice adds a tunnel of the device, and the device if it is new.
func (s *portSet) addDevice(no odp.PortNo, t *TunnelConfig) {
	i := slices.IndexFunc(s.devices, func(d device) bool { return d.no == no })
	if i < 0 {
		i = len(s.devices)
		s.devices = append(s.devices, device{no, map[odp.TunnelKey]odp.PortNo{}})
	}
	s.devices[i].tunnels[odp.TunnelKey{ID: t.Key, Src: t.Remote, Dst: t.Local}] = t.No
	s.inherits = s.inherits || t.TOSInherit
}

// isDevice reports whether the datapath's port carries tunnels.
func (s *portSet) isDevice(no odp.PortNo) bool {
	return slices.ContainsFunc(s.devices, func(d device) bool { return d.no == no })
}

// detunnel sets the in-port of k and f to the tunnel port if the packet arrived through a
// tunnel device. The reason is not empty if it belongs to no tunnel.
func (s *portSet) detunnel(key []byte, k *odp.Key, f *frame) (reason string) {
	for i := range s.devices {
		d := &s.devices[i]
		if d.no != k.InPort {
			continue
		}
		t, err := odp.ParseTunnel(key)
		if err != nil {
			return reasonMalformedKey
		}
		f.tunneled, f.ip6 = true, t.Src.Is6()
		no, ok := d.tunnels[t]
		if !ok {
			t.Dst = netip.Addr{}
			if no, ok = d.tunnels[t]; !ok {
				return reasonNoTunnel
			}
		}
		k.InPort = no
		f.in = s.find(no)
		return ""
	}
	return ""
}
