package config

import (
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"
)

// defaultRingLimit bounds the rings of all sockets where the file sets no limit, and
// ringShare is the part of the memory that they may take then.
const (
	defaultRingLimit = 512 << 20
	ringShare        = 8
)

// ringMemory is the limit for rings where the file sets none. It is read once.
var ringMemory = sync.OnceValue(func() uint64 {
	return min(defaultRingLimit, max(memory("/")/ringShare, 4<<10))
})

// memory returns how many bytes of memory the process may use: those of the machine, or
// of its cgroup if that has less. root is the folder that has proc and sys.
func memory(root string) uint64 {
	total := uint64(math.MaxUint64)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		total = uint64(info.Totalram) * uint64(info.Unit) // 32 bits wide on some machines
	}
	return min(total, cgroupMemory(root))
}

// cgroupMemory returns the lowest memory limit of the process's cgroup and of those above
// it, of version 1 or 2 (Documentation/admin-guide/cgroup-v2.rst, Linux 6.1); the largest
// uint64 if none is told.
func cgroupMemory(root string) uint64 {
	limit := uint64(math.MaxUint64)
	list, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return limit
	}
	for line := range strings.Lines(string(list)) {
		// hierarchy:controllers:path, with hierarchy 0 and no controllers for version 2.
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount, file := filepath.Join(root, "sys/fs/cgroup"), "memory.max"
		switch {
		case f[0] == "0" && f[1] == "":
		case f[1] == "memory":
			mount, file = filepath.Join(mount, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		// In a container the path may be the host's, of which only the mount is there.
		for path := filepath.Clean("/" + f[2]); ; path = filepath.Dir(path) {
			value, err := os.ReadFile(filepath.Join(mount, path, file))
			if n, parseErr := strconv.ParseUint(strings.TrimSpace(string(value)), 10, 64); err == nil && parseErr == nil {
				limit = min(limit, n)
			}
			if path == "/" {
				break
			}
		}
	}
	return limit
}
