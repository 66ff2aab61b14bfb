package config

import (
	"errors"
	"fmt"
	"net/netip"
	"strconv"
)

// Addr is the address of a host, without zone; the zero value is none.
type Addr struct{ netip.Addr }

// parseScalar implements scalarParser.
func (a *Addr) parseScalar(text string) error {
	ip, err := netip.ParseAddr(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an IP address", abbreviate(text))
	case ip.Zone() != "" || ip.Is4In6() || ip.IsUnspecified() || ip.IsMulticast() ||
		ip == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return fmt.Errorf("%q is not the address of one host", abbreviate(text))
	}
	a.Addr = ip
	return nil
}

// String returns the address, or nothing if there is none.
func (a Addr) String() string {
	if !a.IsValid() {
		return ""
	}
	return a.Addr.String()
}

// Equal reports whether both are the same address.
func (a Addr) Equal(b Addr) bool { return a == b }

// Prefix is the address of a device with the length of its network's prefix.
type Prefix struct{ netip.Prefix }

// parseScalar implements scalarParser.
func (p *Prefix) parseScalar(text string) error {
	prefix, err := netip.ParsePrefix(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is not an address with a prefix length, such as 10.0.0.1/24", abbreviate(text))
	case prefix.Addr().Is4In6() || prefix.Addr().IsUnspecified() || prefix.Addr().IsMulticast():
		return fmt.Errorf("%q is not the address of a device", abbreviate(text))
	}
	p.Prefix = prefix
	return nil
}

// Equal reports whether both are the same address and length.
func (p Prefix) Equal(q Prefix) bool { return p == q }

// TOS is what the type-of-service byte of a tunnel's outer header is: a number,
// of which the two lowest bits are 0, or TOSInherit. Unset is 0.
type TOS string

// TOSInherit copies the byte of the inner packet; 0 if that is not IP.
const TOSInherit TOS = "inherit"

func (t TOS) String() string { return string(t) }

// Number returns the byte, 0 for TOSInherit.
func (t TOS) Number() uint8 {
	n, _ := strconv.ParseUint(string(t), 10, 8) // parseScalar has refused other values; unset is 0
	return uint8(n)
}

// parseScalar implements scalarParser.
func (t *TOS) parseScalar(text string) error {
	if text == string(TOSInherit) {
		*t = TOSInherit
		return nil
	}
	n, err := parseInt(text)
	switch {
	case err != nil:
		return fmt.Errorf("%q is neither inherit nor a number", abbreviate(text))
	case n < 0 || n > 255:
		return fmt.Errorf("%s is out of range; want 0 to 255, or inherit", abbreviate(text))
	case n&3 != 0:
		return errors.New("the two lowest bits must be 0: the kernel sets them for congestion notification (ECN)")
	}
	*t = ""
	if n != 0 {
		*t = TOS(strconv.FormatInt(n, 10))
	}
	return nil
}
