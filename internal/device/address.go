package device

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// AddAddress adds an address with its prefix length to a device. An address that it already has
// is not an error.
func (c *Conn) AddAddress(l Link, a netip.Prefix) error {
	err := c.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, l, a)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("device %s: add address %v: %w", l.Name, a, err)
	}
	return nil
}

// DeleteAddress removes an address from a device. A missing address is not an error.
func (c *Conn) DeleteAddress(l Link, a netip.Prefix) error {
	err := c.address(unix.RTM_DELADDR, 0, l, a)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("device %s: delete address %v: %w", l.Name, a, err)
	}
	return nil
}

// address sends a request about one address: struct ifaddrmsg and its attributes.
func (c *Conn) address(typ, nlflags uint16, l Link, a netip.Prefix) error {
	ip := a.Addr().AsSlice()
	family := byte(unix.AF_INET)
	if a.Addr().Is6() {
		family = unix.AF_INET6
	}
	c.enc.Clear()
	c.enc.Begin(typ, nlflags)
	c.enc.Raw(family, byte(a.Bits()), 0, unix.RT_SCOPE_UNIVERSE)
	c.enc.RawUint32(uint32(l.Index))
	c.enc.Attr(unix.IFA_LOCAL, ip)
	c.enc.Attr(unix.IFA_ADDRESS, ip)
	_, err := c.transact()
	return err
}

// Addresses lists the addresses of the network namespace by ifindex, without those of scope
// link.
func (c *Conn) Addresses() (map[int][]netip.Addr, error) {
	all := map[int][]netip.Addr{}
	c.enc.Clear()
	c.enc.Begin(unix.RTM_GETADDR, 0)
	c.enc.Raw(unix.AF_UNSPEC, 0, 0, 0)
	c.enc.RawUint32(0)
	c.enc.End()
	err := c.conn.Dump(&c.enc, func() { clear(all) }, func(_ netlink.Header, b []byte) error {
		const ifaddrmsgLen = 8
		if len(b) < ifaddrmsgLen {
			return fmt.Errorf("address message: %w: %d bytes", netlink.ErrMalformed, len(b))
		}
		index := int(binary.NativeEndian.Uint32(b[4:]))
		var ip netip.Addr
		it := netlink.NewAttrs(b[ifaddrmsgLen:])
		for it.Next() {
			// IFA_ADDRESS of a point-to-point device is the peer's address.
			if t := it.Type(); t == unix.IFA_LOCAL || t == unix.IFA_ADDRESS && !ip.IsValid() {
				ip, _ = netip.AddrFromSlice(it.Data())
			}
		}
		if ip.IsValid() && !ip.IsLinkLocalUnicast() {
			all[index] = append(all[index], ip)
		}
		return it.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	return all, nil
}
