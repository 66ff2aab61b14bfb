// Package transport chooses the upcall socket of a port: with a ring or linear, per port or per
// CPU, new or from the previous process.
//
// # Parts
//
// rings keeps the memory of all rings below a limit. Sockets opens and adopts upcall sockets,
// assigns them to handlers, and keeps them in the service manager's store or hands them over.
// Dispatcher negotiates the datapath's user features, and so whether the kernel picks the socket of
// an upcall by vport or by CPU.
//
// # Ownership
//
// A Socket belongs to the caller from Open or Adopt until Attach, which gives it to a handler,
// or Discard, which closes it. A handler gives it up at Detach, or with its queue at HandOver.
//
// # Threads
//
// All methods, except Sockets.Shared and ReadDrops, belong to one goroutine. Sockets are opened
// in the network namespace of the calling thread.
package transport
