// Package reconciler compares the vports that a datapath has with those that the
// configuration wants, and mends the difference: it serves, attaches, follows, and
// removes ports, gives them numbers, and has their devices prepared and set up.
//
// A vport is known by its number, type and device (network namespace and ifindex), never
// by a name; which entry of the configuration it belongs to is package binding's.
//
// # A look
//
// The caller calls Remove, tells the policy which ports are left, waits until what was
// decided before is in the kernel, and has the numbers that are free now quarantined. Then
// it calls Add, tells the policy the ports there are, and calls SetUpDevices: what a device
// sends when it is set up is forwarded. Each Diff says what changed; its events are
// for after the policy knows.
//
// # Threads
//
// The methods of a Reconciler belong to one goroutine, but Entries. The Table it keeps
// may be read by any.
package reconciler
