// Package daemon is one run of dpifd: it takes a configuration, enters the
// network namespace, opens the datapath, serves it under a policy, tells the
// service manager how it goes, and writes the log.
//
// The log is the daemon's interface to its surroundings, and this package is
// the only one that writes it. Each event has a stable name, level and set of
// fields, declared in events.go and listed in docs/LOGS.md; the packages
// below report events and counters, and know nothing of the log.
package daemon
