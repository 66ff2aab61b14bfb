package transport

import (
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// spareDescriptors are reserved for descriptors other than upcall sockets that the process
// opens while it runs.
const spareDescriptors = 16

// CheckDescriptors checks that the process may open an upcall socket for each of the given
// number of ports, before it serves the first one.
func (s *Sockets) CheckDescriptors(ports int) error {
	if s.Shared() != nil {
		return nil
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // without /proc the first socket beyond the limit fails
	}
	return enoughDescriptors(ports-len(s.inherited.sockets), len(open), limit.Cur)
}

// enoughDescriptors returns an error with the missing number and the remedy.
func enoughDescriptors(sockets, open int, limit uint64) error {
	need := uint64(max(sockets, 0) + open + spareDescriptors)
	if need <= limit {
		return nil
	}
	return fmt.Errorf("%d ports need an upcall socket each, %d open files in all, but the limit is %d: "+
		"raise it (LimitNOFILE=, ulimit -n) or set dispatch: per-cpu: %w", sockets, need, limit, unix.EMFILE)
}
