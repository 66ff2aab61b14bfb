package forward

import (
	"maps"
	"path"

	"dpifd/internal/policy"
)

// PortPattern gives settings to listed ports (policy.Port) that PortConfigs does not
// name and whose names match.
type PortPattern struct {
	Match string // pattern of path.Match
	PortConfig
}

// with returns c and the settings of those of the ports that get them by a pattern: by
// the first that matches.
func (c PortConfigs) with(patterns []PortPattern, list []policy.Port) PortConfigs {
	if len(patterns) == 0 {
		return c
	}
	all := PortConfigs{}
	maps.Copy(all, c)
	for i := range patterns {
		// No device has such a name: a mirror carries nothing but copies before the
		// first port has it.
		all["/"+patterns[i].Match] = PortConfig{MirrorTo: patterns[i].MirrorTo}
	}
	for _, p := range list {
		if _, named := c[p.Name]; named || !p.Listed {
			continue
		}
		for i := range patterns {
			if ok, _ := path.Match(patterns[i].Match, p.Name); ok {
				all[p.Name] = patterns[i].PortConfig
				break
			}
		}
	}
	return all
}
