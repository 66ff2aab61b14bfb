package portdevice

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/device"
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/reconciler"

	"golang.org/x/sys/unix"
)

// usable returns the reason why a device cannot be a port, if there is one. The kernel accepts
// devices without Ethernet (ARPHRD_NONE), and reports only that a device is busy.
func (s *Manager) usable(p reconciler.PortConfig) (name string, err error) {
	if p.Type != dpif.VportNetdev {
		return p.Name, nil
	}
	l, err := s.conn.Link(p.Name)
	if errors.Is(err, unix.ENODEV) {
		return "", err // saves a socket and a request for each waiting port
	} else if err != nil {
		return p.Name, nil // the kernel says so when the port is attached
	}
	if l.Type != unix.ARPHRD_ETHER && l.Type != unix.ARPHRD_LOOPBACK {
		return "", fmt.Errorf("device %s has no Ethernet (type %d, kind %q): it cannot be a port of a switch",
			l.Name, l.Type, l.Kind)
	}
	if l.Master == 0 {
		if list := s.addressesOf(l.Index); p.Match != "" && len(list) > 0 {
			return "", fmt.Errorf("device %s matches pattern %s and has addresses (%s), which would be out of reach: "+
				"an entry with its name attaches it all the same", l.Name, p.Match, strings.Join(list, ", "))
		}
		return l.Name, nil
	}
	master, err := s.conn.LinkAt(l.Master)
	switch {
	case err != nil:
		return l.Name, nil
	case master.Kind == "openvswitch":
		if name := s.datapathOf(&l); name != "" {
			return "", fmt.Errorf("device %s is a port of datapath %s: %w", l.Name, name, unix.EBUSY)
		}
		return l.Name, nil // it has left meanwhile
	default:
		return "", fmt.Errorf("device %s belongs to %s %s: %w", l.Name, master.Kind, master.Name, unix.EBUSY)
	}
}

// datapathOf names the datapath that a device is a port of, "" if there is none.
func (s *Manager) datapathOf(l *device.Link) string {
	conn, err := netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{})
	if err != nil {
		return ""
	}
	defer conn.Close()
	fam, err := dpif.ResolveFamilies(conn)
	if err != nil {
		return ""
	}
	list, err := dpif.Datapaths(conn, fam)
	if err != nil {
		return ""
	}
	for _, info := range list {
		vports, err := dpif.NewDatapath(conn, fam, info.Name, info.Index).Vports()
		if err == nil && slices.ContainsFunc(vports, func(v dpif.Vport) bool { return v.Name == l.Name && !v.Elsewhere }) {
			return info.Name
		}
	}
	return ""
}

// addressCache is how long a list of all addresses is used, so that many ports share one.
const addressCache = time.Second

// warnAddresses warns about a port whose device has IP addresses: the datapath takes the
// packets for these addresses.
func (s *Manager) warnAddresses(name string, v *dpif.Vport) {
	if v.Elsewhere || v.Ifindex == 0 {
		return
	}
	list := s.addressesOf(int(v.Ifindex))
	if len(list) > 0 {
		s.notify(PortHasAddresses{Name: name, No: v.No, Addresses: list})
	}
}

// addressesOf returns the addresses of a device, none if they cannot be listed.
func (s *Manager) addressesOf(ifindex int) []string {
	if time.Since(s.listed) > addressCache {
		all, err := s.conn.Addresses()
		if err != nil {
			return nil
		}
		s.addresses, s.listed = all, time.Now()
	}
	var list []string
	for _, a := range s.addresses[ifindex] {
		list = append(list, a.String())
	}
	return list
}

// Candidates implements reconciler.Devices.
func (s *Manager) Candidates() ([]string, error) {
	links, err := s.conn.Links()
	var names []string
	for _, l := range links {
		if l.Type == unix.ARPHRD_ETHER && l.Master == 0 && l.Kind != "openvswitch" && l.Alias != s.alias() {
			names = append(names, l.Name)
		}
	}
	return names, err
}

// mac returns the MAC for an internal port: the configured one or, for a port that was just
// created, one that is the same each time. It returns zeros if the port keeps its own MAC.
func (s *Manager) mac(p *config.Port, created bool) odp.MAC {
	if p.MAC != (odp.MAC{}) || !created {
		return p.MAC
	}
	host, err := os.ReadFile("/etc/machine-id")
	if err != nil {
		name, _ := os.Hostname()
		host = []byte(name)
	}
	return derivedMAC(strings.TrimSpace(string(host)), s.netns, s.datapath, p.Name)
}

// derivedMAC is a locally administered address that depends on the parts.
func derivedMAC(parts ...string) odp.MAC {
	sum := sha256.Sum256([]byte(strings.Join(parts, "\x00")))
	mac := odp.MAC(sum[:6])
	mac[0] = mac[0]&^1 | 2
	return mac
}
