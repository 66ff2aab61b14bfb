// Package revalidator keeps a datapath's flow table: it deletes idle flows, decides all flows
// again when an input of the policy's decisions changes, adapts the flow limit to the duration
// of a dump, and keeps the policy's static flows and meters installed.
//
// One goroutine works in cycles of two phases: Dump reads the kernel's flow table and collects
// requests, Sweep sends them. Before a flow is installed, its installer reserves a place in the
// Budget.
package revalidator
