package forward

import (
	"maps"
	"path"

	"dpifd/internal/policy"
)

// PortPattern holds settings for listed ports (policy.Port) whose names match and are not in
// PortConfigs.
type PortPattern struct {
	Match string // pattern of path.Match
	PortConfig
}

// with returns c and the settings of listed ports from the first pattern that matches each.
func (c PortConfigs) with(patterns []PortPattern, list []policy.Port) PortConfigs {
	if len(patterns) == 0 {
		return c
	}
	all := PortConfigs{}
	maps.Copy(all, c)
	for i := range patterns {
		// No device has such a name. It makes a mirror carry nothing but copies even before the
		// first port matches.
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
