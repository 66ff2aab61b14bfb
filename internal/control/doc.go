// Package control is how commands talk to a running daemon: HTTP and JSON over
// a UNIX socket, a file that its owner and one group may open. Nothing listens
// on the network.
//
// # Protocol
//
//	GET  /v1/stats       Stats: counters, as the log's events stats and port_stats have them
//	GET  /v1/macs        []MAC: the MAC table
//	GET  /v1/log-level   Level
//	PUT  /v1/log-level   Level -> Change
//	POST /v1/trace       TraceRequest -> Trace
//	GET  /v1/upcalls     a Notice a line, until the client goes; filter, rate and snap in the query
//
// An answer with another status than 200 is a Failure.
//
// # Ownership and threading
//
// A Server runs its own goroutines and asks a Backend, which answers on them.
// No request is served on a handler's thread: what handlers give away, upcalls,
// goes through a Feed, which never makes them wait.
//
// # Sources
//
// unix(7) for SO_PEERCRED and the binding of path names; flock(2).
package control
