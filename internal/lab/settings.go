package lab

import (
	"fmt"
	"maps"
	"regexp"
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

// SpoilWays is the number of ways in which Spoil can make a file invalid.
const SpoilWays = 6

var (
	statsInterval = regexp.MustCompile(`(stats_interval: \d+)[a-z]+`)
	firstPort     = regexp.MustCompile(`\[(\{name: [^}]*\})`)
)

// Spoil makes a valid configuration file with limits, a stats interval and ports invalid. way must
// be less than SpoilWays.
func Spoil(good string, way int) string {
	switch way {
	case 0:
		return good + "colour: green\n"
	case 1:
		return strings.Replace(good, "limit: ", "limit: -", 1)
	case 2:
		return good + "---\n" + good
	case 3:
		return statsInterval.ReplaceAllString(good, "$1")
	case 4:
		return good[:len(good)/2] + "{"
	default:
		return firstPort.ReplaceAllString(good, "[$1, $1")
	}
}
