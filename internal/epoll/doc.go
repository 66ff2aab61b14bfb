// Package epoll waits for file descriptors (epoll(7)) on behalf of one
// goroutine, which others can wake up.
//
// Descriptors are level-triggered (Add) or edge-triggered (AddEdge). Errors and hang-ups of a
// descriptor are events and reach the caller: on a netlink socket an error is an overflow, which
// must be counted. With level triggering it is reported until the caller reads it from the socket.
//
// One goroutine at a time waits; all other methods may be called from any
// goroutine. The Poller owns its epoll instance and an eventfd(2), and never
// the descriptors that are added to it.
package epoll
