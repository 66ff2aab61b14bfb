// Package config reads the daemon's configuration file into a checked Config.
//
// # The file
//
// One YAML document that is a mapping; docs/CONFIGURATION.md has each key with its type,
// default and limits. Keys that the file does not set have their defaults. An empty file is
// refused, because it is usually the result of a failed write; write {} for all defaults. For
// the same reason a key without a value is refused.
//
// Sizes and durations have a unit, integers are decimal, and a string that looks like another
// type is quoted. Anchors, aliases, merge keys, tags, directives, explicit keys and block
// strings are refused, so that each line means what it says and no small file expands to a
// large one. A file has at most 1 MiB and bounded nesting.
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
// The struct Config is the schema: its tags name the keys and limit the values. scan.go refuses
// files that are not text and unwanted parts of YAML, and calls goccy/go-yaml to parse the
// rest. decode.go sets the struct from the syntax tree by reflection and records the place of
// each value. validate.go has the rules that the tags cannot express, among them those of the
// kernel for device names (net/core/dev.c, 6.1) and rings (net/netlink/af_netlink.c, 4.4).
//
// # Threading
//
// The package has no state. A Config is plain data that its caller owns.
package config
