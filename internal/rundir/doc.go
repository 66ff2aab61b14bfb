// Package rundir manages a daemon's files in the runtime directory: locks that show which
// process serves a datapath, and small files for the next daemon.
//
// # Trust
//
// A user who may write to the directory could replace a file in it by another one or by a
// symbolic link. Therefore Open refuses a directory that users other than its owner may write
// to, and one that belongs to neither root nor this process's user. Files are opened relative
// to the directory's descriptor, and no symbolic link is followed.
//
// # Locks
//
// A lock is flock(2) on a separate file, which contains the process id of its owner. The kernel
// releases it when the process ends, in any way. The descriptor is not inherited by exec.
package rundir
