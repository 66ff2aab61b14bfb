package inspect

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// Socket is an upcall socket.
type Socket struct {
	PID   uint32 `json:"pid"`   // netlink port id; 0: no listener
	Found bool   `json:"found"` // in this network namespace
	// Queued is the memory of waiting messages in bytes, 0 if they wait in a ring; Drops counts
	// messages that could not be queued.
	Queued uint64    `json:"queued_bytes"`
	Drops  uint64    `json:"drops"`
	Owners []Process `json:"owners,omitempty"` // those that this process may see
	// Ring is nil for a socket without one, and if its owner was not asked.
	Ring *Ring `json:"ring,omitempty"`
}

// Ring is the fill of a socket's ring. Only the owner knows it; the kernel does not report it.
type Ring struct {
	Frames uint32 `json:"frames"`
	Used   uint32 `json:"used"`
}

// Process is a process that has a socket open.
type Process struct {
	ID   int    `json:"pid"`
	Name string `json:"name"`
}

// socketTable has sockets by netlink port id.
type socketTable map[uint32]Socket

// readSockets looks up the upcall sockets of a datapath.
func readSockets(info dpif.DatapathInfo, vports []dpif.Vport) (socketTable, error) {
	wanted := map[uint32]bool{}
	for _, pid := range info.PerCPUPIDs {
		wanted[pid] = true
	}
	for _, v := range vports {
		for _, pid := range v.UpcallPIDs {
			wanted[pid] = true
		}
	}
	delete(wanted, 0)
	table := socketTable{}
	if len(wanted) == 0 {
		return table, nil
	}
	entries, err := netlink.Sockets(unix.NETLINK_GENERIC)
	if err != nil {
		return nil, err
	}
	inodes := map[uint64]uint32{}
	for _, e := range entries {
		if wanted[e.PortID] {
			table[e.PortID] = Socket{PID: e.PortID, Found: true, Queued: e.Queued, Drops: e.Drops}
			inodes[e.Inode] = e.PortID
		}
	}
	owners("/proc", inodes, func(pid uint32, p Process) {
		s := table[pid]
		s.Owners = append(s.Owners, p)
		table[pid] = s
	})
	return table, nil
}

// all returns the sockets of a list of port ids.
func (t socketTable) all(pids []uint32) []Socket {
	list := make([]Socket, 0, len(pids))
	for _, pid := range pids {
		s, ok := t[pid]
		if !ok {
			s.PID = pid
		}
		list = append(list, s)
	}
	return list
}

// SetRing sets the ring of the socket with a port id, if the process owner has it open.
func (d *Datapath) SetRing(owner int, pid uint32, ring Ring) {
	set := func(list []Socket) {
		for i := range list {
			owned := slices.ContainsFunc(list[i].Owners, func(p Process) bool { return p.ID == owner })
			if s := &list[i]; s.PID == pid && s.Found && owned {
				s.Ring = &ring
			}
		}
	}
	set(d.PerCPU)
	for i := range d.Ports {
		set(d.Ports[i].Sockets)
	}
}

// owners calls each for every process that has one of the sockets open, once for each socket.
// Processes of other users are visible only with CAP_SYS_PTRACE; those that end meanwhile are
// left out.
func owners(proc string, inodes map[uint64]uint32, each func(pid uint32, p Process)) {
	// A well-formed pattern causes no error.
	dirs, _ := filepath.Glob(filepath.Join(proc, "[0-9]*"))
	for _, dir := range dirs {
		id, err := strconv.Atoi(filepath.Base(dir))
		if err != nil {
			continue
		}
		files, err := os.ReadDir(filepath.Join(dir, "fd"))
		if err != nil {
			continue
		}
		seen := map[uint64]bool{}
		for _, f := range files {
			target, err := os.Readlink(filepath.Join(dir, "fd", f.Name()))
			if err != nil {
				continue
			}
			inode, ok := socketInode(target)
			if pid, wanted := inodes[inode]; ok && wanted && !seen[inode] {
				seen[inode] = true
				each(pid, Process{ID: id, Name: processName(dir)})
			}
		}
	}
}

// socketInode reads the target of a link in /proc/PID/fd, "socket:[8123]".
func socketInode(target string) (uint64, bool) {
	s, isSocket := strings.CutPrefix(target, "socket:[")
	s, closed := strings.CutSuffix(s, "]")
	inode, err := strconv.ParseUint(s, 10, 64)
	return inode, isSocket && closed && err == nil
}

// processName is the name of the process with the folder dir.
func processName(dir string) string {
	name, err := os.ReadFile(filepath.Join(dir, "comm"))
	if err != nil {
		return "?"
	}
	return strings.TrimSuffix(string(name), "\n")
}

func (p Process) String() string { return fmt.Sprintf("%s[%d]", p.Name, p.ID) }
