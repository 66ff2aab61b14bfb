package config

import (
	"slices"

	"dpifd/internal/forward"
)

// Unlisted says how to treat a vport without an entry.
type Unlisted string

// UnlistedDrop forwards nothing from or to it, UnlistedServe serves it as a port without
// settings, UnlistedAuto is one of them, see DropsUnlisted.
const (
	UnlistedAuto  Unlisted = "auto"
	UnlistedDrop  Unlisted = "drop"
	UnlistedServe Unlisted = "serve"
)

// DropsUnlisted reports whether vports without an entry carry nothing: as the file says, or
// else if any port has settings that such a vport would bypass.
func (c *Config) DropsUnlisted() bool {
	if c.PortsUnlisted != UnlistedAuto {
		return c.PortsUnlisted == UnlistedDrop
	}
	return c.HasVLANs() || slices.ContainsFunc(c.Ports, func(p Port) bool {
		return p.Isolated || p.MirrorTo != "" || p.MACLimit != 0 || p.MaxUpcalls != 0 || p.Storm != forward.StormConfig{} ||
			p.Allow.isSet() || !p.DHCPServer || !p.RouterAdvertisements
	})
}

// HasVLANs reports whether an entry has VLAN settings. The local port then carries only VLAN 0,
// unless its own entry has some.
func (c *Config) HasVLANs() bool {
	return slices.ContainsFunc(c.Ports, func(p Port) bool { return p.VLAN.IsSet() })
}

// DropsLocal reports whether the local port carries nothing while it has no entry. The rules
// are those of other vports, except that in a file with VLAN settings it may carry VLAN 0,
// which does not bypass them.
func (c *Config) DropsLocal() bool {
	return c.DropsUnlisted() && (c.PortsUnlisted == UnlistedDrop || !c.HasVLANs())
}

func (Unlisted) Values() []string { return strs(UnlistedAuto, UnlistedDrop, UnlistedServe) }
