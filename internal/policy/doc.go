// Package policy is the contract between those who decide what happens to packets
// and those who serve a datapath: an upcall goes in, a verdict comes out. It has
// no code of its own. Policies are in internal/forward; internal/upcall asks them
// about packets, internal/revalidator about installed flows.
package policy
