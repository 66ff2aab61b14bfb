// Package control is how commands talk to a running daemon: HTTP and JSON over
// a UNIX socket, a file that its owner and one group may open. Nothing listens
// on the network.
//
// # Protocol
//
// Each request is an Endpoint: method, path, and the types of request and answer,
// which are JSON. The package that answers declares it, and the client asks by the
// same value. An answer with another status than 200 is a Failure.
//
// GET /v1/upcalls is a stream: a Notice a line, until the client goes; filter, rate
// and snap are in the query.
//
// # Ownership and threading
//
// A Server runs its own goroutines, and calls on them what its routes are answered
// with. No request is served on a handler's thread: what handlers give away, upcalls,
// goes through a Feed, which never makes them wait.
//
// # Sources
//
// unix(7) for SO_PEERCRED and the binding of path names; flock(2).
package control
