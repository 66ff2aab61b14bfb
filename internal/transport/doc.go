// Package transport says which upcall socket a port gets: one with a ring or a linear one,
// one of its own or those of the CPUs, a new one or one of the process before.
//
// # Parts
//
// Rings keeps the memory of all rings below a limit. Sockets opens and adopts upcall
// sockets, gives them to handlers, and keeps them in the service manager's store or hands
// them over. Dispatcher negotiates the datapath's user features, and with them whether the
// kernel picks the socket of an upcall by vport or by CPU.
//
// # Ownership
//
// A Socket belongs to the caller from Open or Adopt until Attach, which gives it to a
// handler, or Discard, which closes it. A handler gives it up at Detach, or at HandOver
// with what is queued on it.
//
// # Threads
//
// All methods belong to one goroutine, but Sockets.Shared and ReadDrops. Sockets
// are opened in the network namespace of the calling thread.
package transport
