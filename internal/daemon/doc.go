// Package daemon is one run of dpifd: it takes a configuration, enters the
// network namespace, opens the datapath, serves it under a policy, tells the
// service manager how it goes, and writes the log.
//
// The log is the daemon's interface to its surroundings, and this package is
// the only one that writes it. Events are declared where they are emitted, in
// this package in the files event_*.go; the packages below hand theirs up and
// know nothing of the log.
package daemon
