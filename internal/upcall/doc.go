// Package upcall is the way of a packet through the daemon: a Handler receives the
// upcalls of the sockets it owns, has a policy decide on each, and answers them in
// batches.
//
// # Threads
//
// A Handler is one goroutine on one locked OS thread with its own epoll, receive batch
// and request socket. A socket has one owner, so the upcalls of a port keep their
// order. Others ask the handler's goroutine to take a socket or give it up (Attach,
// Detach, Release), and read counters of ports and handlers.
//
// # Memory
//
// An upcall borrows the receive buffer or ring frame that it came in until its batch is
// answered. Verdicts and requests are encoded into memory that is kept from batch to
// batch; in the steady state nothing on the way of a packet allocates.
package upcall
