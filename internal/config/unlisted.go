package config

import (
	"slices"

	"dpifd/internal/forward"
)

// Unlisted says what becomes of a vport without an entry.
type Unlisted string

// UnlistedDrop has it carry nothing, UnlistedServe serves it as a port without settings,
// UnlistedAuto is either of them, see DropsUnlisted.
const (
	UnlistedAuto  Unlisted = "auto"
	UnlistedDrop  Unlisted = "drop"
	UnlistedServe Unlisted = "serve"
)

// DropsUnlisted reports whether vports without an entry carry nothing: as the file says,
// or else if it has settings for any port that such a vport would get around.
func (c *Config) DropsUnlisted() bool {
	if c.PortsUnlisted != UnlistedAuto {
		return c.PortsUnlisted == UnlistedDrop
	}
	return slices.ContainsFunc(c.Ports, func(p Port) bool {
		return p.VLAN.Access != 0 || p.VLAN.Native != 0 || len(p.VLAN.Trunk) > 0 || p.Isolated || p.MirrorTo != "" ||
			p.MACLimit != 0 || p.MaxUpcalls != 0 || p.Storm != forward.StormConfig{}
	})
}

func (Unlisted) values() []string { return strs(UnlistedAuto, UnlistedDrop, UnlistedServe) }
