// Package policy defines the interface between the code that decides about packets and the code
// that serves a datapath: an upcall goes in, a verdict comes out.
// internal/forward has the policies; internal/upcall asks them about packets,
// internal/revalidator about installed flows.
package policy
