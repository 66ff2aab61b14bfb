package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"dpifd/internal/odp"
)

// Allow holds the source addresses that a port may use.
type Allow struct {
	// MACs and Addresses are the sources that the port may use; an empty list allows any.
	MACs      []odp.MAC `yaml:"macs" optional:"true"`
	Addresses []Source  `yaml:"addresses" optional:"true"`
}

func (a Allow) isSet() bool { return len(a.MACs) > 0 || len(a.Addresses) > 0 }

func (a Allow) clone() Allow {
	return Allow{MACs: slices.Clone(a.MACs), Addresses: slices.Clone(a.Addresses)}
}

// maxAllowed limits each list of Allow: each upcall's packet is compared with all entries.
const maxAllowed = 256

// Source is the addresses of hosts: one, or those of a prefix.
type Source struct{ netip.Prefix }

// parseScalar implements scalarParser.
func (s *Source) parseScalar(text string) error {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		a, aerr := netip.ParseAddr(text)
		if aerr != nil || a.Zone() != "" {
			return fmt.Errorf("%q is neither an address nor a prefix, such as 192.0.2.1 or 2001:db8::/64",
				abbreviate(text))
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	a := p.Addr()
	switch {
	case a.Is4In6() || a.IsMulticast() || a.IsUnspecified() && p.IsSingleIP():
		return fmt.Errorf("%q is not the source of any packet", abbreviate(text))
	case p != p.Masked():
		return fmt.Errorf("%q has bits beyond its prefix; write %v for the network or %v for the host",
			abbreviate(text), p.Masked(), a)
	}
	s.Prefix = p
	return nil
}

// String returns an address without prefix if s is one.
func (s Source) String() string {
	if s.IsSingleIP() {
		return s.Addr().String()
	}
	return s.Prefix.String()
}

// Equal reports whether both are the same addresses.
func (s Source) Equal(t Source) bool { return s == t }

// allow checks the source addresses that a port may use.
func (d *decoder) allow(entry string, a *Allow) {
	for _, list := range []struct {
		key string
		n   int
	}{{"macs", len(a.MACs)}, {"addresses", len(a.Addresses)}} {
		path := entry + ".allow." + list.key
		if _, set := d.at[path]; !set || d.bad[path] {
			continue
		}
		switch {
		case list.n == 0 && !d.bad[entry+".allow"]:
			d.check(errors.New("is empty; without it any is allowed"), path)
		case list.n > maxAllowed:
			d.check(fmt.Errorf("has %d entries; at most %d are allowed", list.n, maxAllowed), path)
		}
	}
}
