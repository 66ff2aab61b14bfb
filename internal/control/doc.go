// Package control implements the communication of commands with a running daemon: HTTP and JSON
// over a UNIX socket that its owner and one group may open. The daemon does not listen on the
// network.
//
// # Protocol
//
// Each request is an Endpoint: method, path, and the types of request and answer, which are
// JSON. The package that answers declares it, and the client uses the same value. An answer
// with a status other than 200 is a Failure.
//
// GET /v1/upcalls is a stream with one Notice per line, until the client disconnects; filter,
// rate and snap are in the query.
//
// # Ownership and threading
//
// A Server runs its own goroutines and calls the functions of its routes on them. No request is
// served on a handler's thread: handlers put upcalls into a Feed, which never makes them wait.
//
// # Sources
//
// unix(7) for SO_PEERCRED and the binding of path names; flock(2).
package control
