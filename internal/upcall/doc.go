// Package upcall is the packet path of the daemon: a Handler receives the upcalls of its
// sockets, asks a policy to decide on each, and answers them in batches.
//
// # Threads
//
// A Handler is one goroutine on one locked OS thread with its own epoll, receive batch and
// request socket. A socket has one owner, so the upcalls of a port keep their order. Other
// goroutines ask the handler to take or give up a socket (Attach, Detach, Release), and read
// counters of ports and handlers.
//
// # Memory
//
// An upcall borrows its receive buffer or ring frame until its batch is answered. Verdicts and
// requests are encoded into memory that is reused for each batch; in the steady state the
// packet path does not allocate.
package upcall
