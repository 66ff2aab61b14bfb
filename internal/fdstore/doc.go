// Package fdstore lets descriptors outlive the process: it gives them to the
// service manager to keep, or to the program that takes the process's place,
// and takes them over at the other end.
//
// # Protocol
//
// A Store sends FDSTORE=1 with one descriptor and its FDNAME, and FDPOLL=0 so
// that an error on a socket (ENOBUFS) does not make the manager drop it;
// FDSTOREREMOVE=1 takes all descriptors of a name out (sd_notify(3), systemd
// 252). The manager duplicates what it is given, and passes all of it to each
// process that it starts for the service, from descriptor 3 on, with LISTEN_PID,
// LISTEN_FDS and LISTEN_FDNAMES (sd_listen_fds(3)). A manager says by FDSTORE
// that it keeps descriptors, and how many (systemd 254; older ones are spoken
// for by the unit).
//
// Exec passes descriptors under the numbers they have: DPIFD_FDS holds the
// process id and the numbers, each followed by =STATE if it has one. In the manager's
// store a state is the part of the name after a slash.
//
// # Trust
//
// Both variables may be stale, or wrong on purpose: they count only if they name
// this process, at most MaxDescriptors are looked at, and a descriptor that is
// closed on exec cannot have been passed. What kind of thing a descriptor is, is
// for its taker to check.
//
// # Ownership
//
// Inherited hands its descriptors to the caller. Keep borrows the descriptor for
// the call. The descriptors given to Exec stay the caller's if it fails.
package fdstore
