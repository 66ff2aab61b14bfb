// Package vswitch serves one openvswitch kernel datapath. It composes the parts; its only own
// mechanism is the port poll, which waits for the kernel's notifications.
//
// # Threads
//
// Each upcall.Handler is a goroutine on a locked OS thread. The revalidator is another one.
// The port poll is the goroutine of Run: the Reconciler, the Sockets and the Dispatcher
// belong to it. Stats and the other methods for any goroutine read counters, and tables
// that are replaced whole.
//
// The package does not log. It passes information for the operator to the caller as events, and
// as counters that Server.Stats collects.
package vswitch
