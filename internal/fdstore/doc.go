// Package fdstore lets file descriptors outlive the process: it passes them to the service
// manager's store, or to the program that replaces the process, and takes them over in the next
// process.
//
// # Protocol
//
// A Store sends FDSTORE=1 with one descriptor and its FDNAME, and FDPOLL=0 so that an error on
// a socket (ENOBUFS) does not make the manager drop it; FDSTOREREMOVE=1 removes all descriptors
// of a name (sd_notify(3), systemd 252). The manager duplicates the descriptors and passes all
// of them to each process that it starts for the service, from descriptor 3 on, with
// LISTEN_PID, LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)). FDSTORE tells the service that
// the manager keeps descriptors, and how many (systemd 254; for older ones the unit sets it).
//
// Exec passes descriptors with unchanged numbers: DPIFD_FDS has the process id and the numbers,
// each followed by =STATE if it has one. In the manager's store a state is the part of the name
// after a slash.
//
// # Trust
//
// Both variables may be stale, or wrong on purpose. They count only if they name this process,
// at most MaxDescriptors are read, and a descriptor with close-on-exec cannot have been passed.
// The caller must check the kind of each descriptor.
//
// # Ownership
//
// The caller owns the descriptors that Inherited returns. Keep borrows the descriptor for the
// call. If Exec fails, the caller still owns its descriptors.
package fdstore
