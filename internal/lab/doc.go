// Package lab builds test topologies inside the lab VM: network namespaces,
// veth pairs, raw packet sockets and the programs that run in them. Only tests
// import it; everything but this file and settings.go carries the build tag lab.
//
// # Ownership
//
// Objects that this package creates belong to the test and are removed by its Cleanup, in
// reverse order: processes are killed and waited for, sockets closed, namespaces deleted with
// the devices in them. Names are unique within one run of a test binary, so that tests need not
// coordinate them, and a datapath is in the namespace of its test.
//
// # Threading
//
// A namespace is entered by a goroutine locked to its thread for the time of one call. A thread
// that cannot return to its namespace is never unlocked, so it ends with its goroutine and is
// not reused.
//
// # Skips
//
// Need finds out what a kernel has by trying. A test that cannot run on a kernel is skipped
// with the reason; with DPIFD_LAB_STRICT=1, as on the default kernel, only the features that
// are known to be missing there may be skipped.
package lab
