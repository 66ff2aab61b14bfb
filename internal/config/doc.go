// Package config reads the daemon's configuration file into a checked Config.
//
// # The file
//
// One YAML document that is a mapping; docs/CONFIGURATION.md has each key with
// its type, default and limits. What the file does not set has its default, but
// an empty file is refused, since it is more often a failed write than a wish:
// all defaults are written {}. For the same reason a key without a value is
// refused.
//
// Nothing is guessed. Sizes and durations carry their unit, integers are
// decimal, a string that looks like another type is quoted. Anchors, aliases,
// merge keys, tags, directives, explicit keys and block strings are refused, so
// that what a line says is what it sets, and no small file expands to a large
// one. A file has at most 1 MiB and bounded nesting.
//
// # Errors
//
// Every error of Load and Parse is an Errors: the mistakes of the file (the
// first 20), each an *Error with line and column of the value or key at fault
// and an excerpt. A file that is not YAML stops at the first. Nothing of a
// wrong file is used.
//
// # The code
//
// The struct Config is the schema: its tags name the keys and bound the values.
// scan.go refuses what is not text or not wanted and has goccy/go-yaml parse
// the rest; decode.go sets the struct from the syntax tree by reflection and
// remembers where each value stood; validate.go holds the rules over what the
// tags cannot say, among them those of the kernel for device names
// (net/core/dev.c, 6.1) and rings (net/netlink/af_netlink.c, 4.4).
//
// # Threading
//
// The package has no state. A Config is plain data that its caller owns.
package config
