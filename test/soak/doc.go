// Command soak runs dpifd under load inside the lab VM for a given time, and does at random what
// may happen in years of operation: ports come, go and flap, good and bad files are reloaded, other
// programs change the datapath's features or delete it, the daemon is stopped, killed and started.
// Meanwhile it tracks each frame, the daemon's log and the daemon's resources, and checks the
// invariants listed in docs/SOAK.md. It exits with 1 at the first violation.
//
// The actions and their order depend only on the seed: the plan uses neither the clock nor the
// daemon's state. How many are done in the given time depends on the machine.
//
// `make soak` runs it. Everything except the plan has the build tag lab.
package main
