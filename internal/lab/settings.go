package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Settings are top-level keys of the configuration, each with its value in YAML.
type Settings map[string]string

// With returns the settings with those of more added or replaced.
func (s Settings) With(more Settings) Settings {
	all := maps.Clone(s)
	maps.Copy(all, more)
	return all
}

// Text returns the configuration file, keys sorted.
func (s Settings) Text() string {
	var b strings.Builder
	for _, key := range slices.Sorted(maps.Keys(s)) {
		fmt.Fprintf(&b, "%s: %s\n", key, s[key])
	}
	return b.String()
}

// Ports returns the value of ports for devices without settings.
func Ports(names ...string) string {
	var list []string
	for _, name := range names {
		list = append(list, "{name: "+name+"}")
	}
	return "[" + strings.Join(list, ", ") + "]"
}
