// Command soak runs dpifd inside the lab VM for a chosen time under load, and
// does to it at random what may happen in years: ports come, go and flap, files
// are reloaded, good ones and bad ones, other programs change the datapath's
// features or delete it, the daemon is stopped, killed and started. All the while
// it keeps account of each frame, of the daemon's log, and of what the daemon
// holds, and checks the invariants that docs/SOAK.md lists. It exits with 1 at
// the first that is violated.
//
// What is done, and in which order, depends on the seed alone: a plan does not
// look at the clock or at the daemon. How far it gets depends on the machine.
//
// `make soak` runs it; everything but the plan has the build tag lab.
package main
