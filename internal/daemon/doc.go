// Package daemon implements one run of dpifd: it takes a configuration, enters the network
// namespace, opens the datapath, serves it with a policy, reports its state to the service
// manager, and writes the log.
//
// The log is the daemon's interface to its environment, and this package is the only one that
// writes it. Events are declared where they are emitted, in this package in the files
// event_*.go; the packages below pass events up and do not log.
package daemon
