// Package policy defines the interface between the code that decides about packets and the code
// that serves a datapath: a policy takes an upcall and returns a verdict. internal/forward has the
// policies; internal/upcall calls them for packets, internal/revalidator for installed flows.
package policy
