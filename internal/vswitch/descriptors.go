package vswitch

import (
	"dpifd/internal/dpif"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

// spareDescriptors are kept for what a Server opens besides upcall sockets while
// it runs, and for its process.
const spareDescriptors = 16

// checkDescriptors makes sure that the process may open an upcall socket for each
// vport of the datapath and each configured port, before it takes the first
// one's upcalls.
func (s *Server) checkDescriptors(vports []dpif.Vport) error {
	if s.shared != nil {
		return nil
	}
	names := make(map[string]bool, len(vports)+len(s.cfg.Ports))
	for _, v := range vports {
		names[v.Name] = true
	}
	for _, p := range s.cfg.Ports {
		names[p.Name] = true
	}
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("limit of open files: %w", err)
	}
	open, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return nil // without proc the first socket too many says it
	}
	return enoughDescriptors(len(names)-len(s.inherited), len(open), limit.Cur)
}

// enoughDescriptors says what is missing, and what to do.
func enoughDescriptors(sockets, open int, limit uint64) error {
	need := uint64(max(sockets, 0) + open + spareDescriptors)
	if need <= limit {
		return nil
	}
	return fmt.Errorf("%d ports need an upcall socket each, %d open files in all, but the limit is %d: raise it (LimitNOFILE=, ulimit -n) or dispatch by CPU: %w",
		sockets, need, limit, unix.EMFILE)
}
