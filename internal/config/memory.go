package config

import (
	"math"
	"sync"

	"dpifd/internal/cgroup"

	"golang.org/x/sys/unix"
)

// defaultRingLimit limits the rings of all sockets if the file sets no limit, and ringShare is
// the part of the memory that they may take then.
const (
	defaultRingLimit = 512 << 20
	ringShare        = 8
)

// ringMemory is the limit for rings if the file sets none. It is computed once.
var ringMemory = sync.OnceValue(func() uint64 {
	return min(defaultRingLimit, max(memory()/ringShare, 4<<10))
})

// memory returns how many bytes of memory the process may use: those of the machine, or
// of its cgroup if that has less.
func memory() uint64 {
	total := uint64(math.MaxUint64)
	var info unix.Sysinfo_t
	if unix.Sysinfo(&info) == nil {
		total = uint64(info.Totalram) * uint64(info.Unit) // 32 bits wide on some machines
	}
	return min(total, cgroup.Memory())
}
