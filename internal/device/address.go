package device

import (
	"errors"
	"fmt"
	"net/netip"

	"golang.org/x/sys/unix"
)

// AddAddress gives a device an address with the length of its network's
// prefix. One that it has already is no error.
func (c *Conn) AddAddress(l Link, a netip.Prefix) error {
	err := c.address(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, l, a)
	if err != nil && !errors.Is(err, unix.EEXIST) {
		return fmt.Errorf("device %s: add address %v: %w", l.Name, a, err)
	}
	return nil
}

// DeleteAddress takes an address off a device. One that is not there is no
// error.
func (c *Conn) DeleteAddress(l Link, a netip.Prefix) error {
	err := c.address(unix.RTM_DELADDR, 0, l, a)
	if err != nil && !errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("device %s: delete address %v: %w", l.Name, a, err)
	}
	return nil
}

// address sends a request about one address: struct ifaddrmsg and its
// attributes.
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
