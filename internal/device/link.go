package device

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"slices"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// ifinfomsgLen is sizeof(struct ifinfomsg), linux/rtnetlink.h.
const ifinfomsgLen = 16

// Link is a network device as the kernel describes it. It shares no memory with the message.
type Link struct {
	Index       int
	Type        uint16 // ARPHRD_*, linux/if_arp.h
	Name, Alias string
	Kind        string // IFLA_INFO_KIND: "vxlan", "veth"; "" for hardware
	Flags       uint32 // IFF_*
	MTU         uint32 // bytes
	Address     string // MAC, as in 02:00:00:00:00:01; "" if it has none
	Master      int    // ifindex of its master, such as a bridge, 0 if none
	State       uint8  // IF_OPER_*
	data        []byte // IFLA_INFO_DATA, by kind
}

// Up reports whether the device is set up, IFF_UP.
func (l *Link) Up() bool { return l.Flags&unix.IFF_UP != 0 }

// Link returns the device with the given name. The error matches unix.ENODEV if there is none.
func (c *Conn) Link(name string) (Link, error) {
	c.link(unix.RTM_GETLINK, 0, 0, 0, 0)
	c.enc.String(unix.IFLA_IFNAME, name)
	b, err := c.transact()
	var l Link
	if err == nil {
		l, err = ParseLink(b)
	}
	if err != nil {
		return l, fmt.Errorf("device %s: %w", name, err)
	}
	return l, nil
}

// LinkAt returns the device with the given ifindex. The error matches unix.ENODEV if there is none.
func (c *Conn) LinkAt(index int) (Link, error) {
	c.link(unix.RTM_GETLINK, 0, index, 0, 0)
	b, err := c.transact()
	var l Link
	if err == nil {
		l, err = ParseLink(b)
	}
	if err != nil {
		return l, fmt.Errorf("device %d: %w", index, err)
	}
	return l, nil
}

// Links lists the devices of the network namespace.
func (c *Conn) Links() ([]Link, error) {
	var list []Link
	c.link(unix.RTM_GETLINK, 0, 0, 0, 0)
	c.enc.End()
	err := c.conn.Dump(&c.enc, func() { list = list[:0] }, func(_ netlink.Header, b []byte) error {
		l, err := ParseLink(b)
		if err == nil {
			list = append(list, l)
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("list devices: %w", err)
	}
	return list, nil
}

// ParseLink decodes the payload of RTM_NEWLINK and RTM_DELLINK, after struct nlmsghdr.
func ParseLink(b []byte) (Link, error) {
	if len(b) < ifinfomsgLen {
		return Link{}, fmt.Errorf("link message: %w: %d bytes where struct ifinfomsg takes %d", netlink.ErrMalformed,
			len(b), ifinfomsgLen)
	}
	l := Link{Type: binary.NativeEndian.Uint16(b[2:]), Index: int(int32(binary.NativeEndian.Uint32(b[4:]))),
		Flags: binary.NativeEndian.Uint32(b[8:])}
	it := netlink.NewAttrs(b[ifinfomsgLen:])
	var info []byte
	for it.Next() {
		switch it.Type() {
		case unix.IFLA_IFNAME:
			l.Name = it.String()
		case unix.IFLA_IFALIAS:
			l.Alias = it.String()
		case unix.IFLA_MTU:
			l.MTU = it.Uint32()
		case unix.IFLA_ADDRESS:
			l.Address = net.HardwareAddr(it.Data()).String()
		case unix.IFLA_MASTER:
			l.Master = int(it.Uint32())
		case unix.IFLA_OPERSTATE:
			l.State = it.Uint8()
		case unix.IFLA_LINKINFO:
			info = it.Data()
		}
	}
	err := it.Err()
	inner := netlink.NewAttrs(info)
	for err == nil && inner.Next() {
		switch inner.Type() {
		case unix.IFLA_INFO_KIND:
			l.Kind = inner.String()
		case unix.IFLA_INFO_DATA:
			l.data = slices.Clone(inner.Data())
		}
	}
	if err == nil {
		err = inner.Err()
	}
	if err != nil {
		return l, fmt.Errorf("link message: %w", err)
	}
	return l, nil
}

// Delete deletes a device. For a missing device the error matches unix.ENODEV.
func (c *Conn) Delete(l Link) error {
	c.link(unix.RTM_DELLINK, 0, l.Index, 0, 0)
	if _, err := c.transact(); err != nil {
		return fmt.Errorf("delete device %s: %w", l.Name, err)
	}
	return nil
}

// SetUp sets IFF_UP.
func (c *Conn) SetUp(l Link) error {
	c.link(unix.RTM_NEWLINK, 0, l.Index, unix.IFF_UP, unix.IFF_UP)
	if _, err := c.transact(); err != nil {
		return fmt.Errorf("set device %s up: %w", l.Name, err)
	}
	return nil
}

// SetMTU sets a device's MTU, in bytes.
func (c *Conn) SetMTU(l Link, mtu uint32) error {
	c.link(unix.RTM_NEWLINK, 0, l.Index, 0, 0)
	c.enc.Uint32(unix.IFLA_MTU, mtu)
	if _, err := c.transact(); err != nil {
		return fmt.Errorf("set MTU %d of device %s: %w", mtu, l.Name, err)
	}
	return nil
}

// SetAddress sets a device's MAC.
func (c *Conn) SetAddress(l Link, mac [6]byte) error {
	c.link(unix.RTM_NEWLINK, 0, l.Index, 0, 0)
	c.enc.Attr(unix.IFLA_ADDRESS, mac[:])
	if _, err := c.transact(); err != nil {
		return fmt.Errorf("set MAC %s of device %s: %w", net.HardwareAddr(mac[:]), l.Name, err)
	}
	return nil
}

// Numbers of linux/if_link.h and linux/ip.h.
const (
	iflaInetConf         = 1  // IFLA_INET_CONF
	ipv4DevconfARPNotify = 22 // IPV4_DEVCONF_ARP_NOTIFY
)

// Announce makes the kernel send a gratuitous ARP for each IPv4 address of the device when it
// is set up (arp_notify), and an unsolicited neighbour advertisement for each IPv6 address if
// this process may write to /proc/sys (ndisc_notify).
func (c *Conn) Announce(l Link) error {
	c.link(unix.RTM_SETLINK, 0, l.Index, 0, 0)
	c.enc.Nested(unix.IFLA_AF_SPEC, func(e *netlink.Encoder) {
		e.Nested(unix.AF_INET, func(e *netlink.Encoder) {
			e.Nested(iflaInetConf, func(e *netlink.Encoder) { e.Uint32(ipv4DevconfARPNotify, 1) })
		})
	})
	if _, err := c.transact(); err != nil {
		return fmt.Errorf("set arp_notify of device %s: %w", l.Name, err)
	}
	// The service may run with /proc/sys read-only, and the kernel without IPv6.
	_ = os.WriteFile("/proc/sys/net/ipv6/conf/"+l.Name+"/ndisc_notify", []byte("1"), 0)
	return nil
}
