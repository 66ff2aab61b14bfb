// Package reconciler compares the vports of a datapath with those of the configuration, and
// corrects the difference: it serves, attaches, follows and removes ports, assigns their
// numbers, and has their devices prepared and set up.
//
// A vport is identified by its number, type and device (network namespace and ifindex), never
// by a name; package binding maps it to an entry of the configuration.
//
// # A look
//
// The caller calls Remove, passes the remaining ports to the policy, waits until earlier
// decisions are in the kernel, and quarantines the numbers that are now free. Then it calls
// Add, passes the ports to the policy, and calls SetUpDevices, so that packets that a device
// sends when it is set up are forwarded. Each Diff contains the changes; emit its events after
// the policy knows the ports.
//
// # Threads
//
// All methods of a Reconciler, except Entries, belong to one goroutine. Any goroutine may read
// its Table.
package reconciler
