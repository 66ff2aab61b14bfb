// Package rundir keeps what a daemon leaves in the runtime directory: locks that
// say who serves a datapath, and small files for the next daemon.
//
// # Trust
//
// Whoever may write to the directory could replace a file in it, or put a symbolic
// link in its place. So Open refuses a directory that anyone but its owner may
// write to, and one that belongs to neither root nor this process's user. Files are
// opened relative to the directory's descriptor, and no symbolic link is followed.
//
// # Locks
//
// A lock is flock(2) on a file of its own, which has the process id of its owner.
// The kernel releases it when the process ends, however that happens. The descriptor is
// not inherited by exec.
package rundir
