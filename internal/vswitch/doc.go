// Package vswitch serves one openvswitch kernel datapath: it keeps its vports, and
// composes what receives its upcalls, answers them as a policy decides, and keeps its
// flow table.
//
// # Threads
//
// Each Handler is a goroutine on a locked OS thread with its own epoll, receive batch and
// request socket. Each vport has one upcall socket, and one handler that owns
// it, so the packets of a vport keep their order. The Server reconciles
// vports, sockets and handlers with what the kernel has; the Revalidator
// expires flows and re-decides them when the policy's inputs changed.
//
// # Memory
//
// Verdict and request buffers are reused from batch to batch; in the steady state
// the way of a packet allocates nothing.
//
// The package does not log. What an operator should know reaches the caller
// as Events, and as counters that Server.Stats collects.
package vswitch
