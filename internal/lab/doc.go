// Package lab builds test topologies inside the lab VM: network namespaces,
// veth pairs, raw packet sockets and the programs that run in them. Only tests
// import it; everything but this file and settings.go carries the build tag lab.
//
// # Ownership
//
// Whatever a function of this package creates belongs to the test it was given
// and is removed by its Cleanup, in reverse order: processes are killed and
// waited for, sockets closed, namespaces deleted with the devices in them.
// Names are unique within one run of a test binary, so that tests need not
// agree on any, and a datapath lives in the namespace of its test.
//
// # Threading
//
// A namespace is entered by a goroutine locked to its thread for the time of
// one call. A thread that cannot go back is never unlocked, so it ends with its
// goroutine and nobody else gets it.
//
// # Skips
//
// What a kernel has is found by trying (Need). A test that cannot run on a
// kernel is skipped with the reason; with DPIFD_LAB_STRICT=1, as on the default
// kernel, only the features that are known to be missing there may be skipped.
package lab
