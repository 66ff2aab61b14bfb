// Package revalidator keeps a datapath's flow table: it deletes idle flows,
// re-decides all flows when what the policy decides by has changed, adapts the limit
// of flows to the time that a dump takes, and keeps the policy's static flows and
// meters in place.
//
// One goroutine does it, in cycles of two phases: Dump goes through the kernel's
// flow table and gathers requests, Sweep sends them. Whoever installs flows takes
// a place of the Budget for each first.
package revalidator
