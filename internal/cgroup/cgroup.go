// Package cgroup reads the limits of the process's control group and of those above it, of
// version 1 or 2 (Documentation/admin-guide/cgroup-v1 and cgroup-v2.rst, Linux 6.1). It reads
// files and allocates, so use it at start and for slow checks.
package cgroup

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
)

// Memory returns the lowest memory limit in bytes, the largest uint64 if there is none.
func Memory() uint64 { return memory("/") }

// UsableCPUs returns the number of CPUs that the process may use, at least one: those of its
// affinity, or its CPU quota rounded up if that is less.
func UsableCPUs() int { return max(1, min(runtime.GOMAXPROCS(0), quotaCPUs("/"))) }

func memory(root string) uint64 {
	limit := uint64(math.MaxUint64)
	walk(root, "memory", func(group string, version int) {
		file := "memory.max"
		if version == 1 {
			file = "memory.limit_in_bytes"
		}
		if n, ok := number(field(filepath.Join(group, file), 0)); ok {
			limit = min(limit, n)
		}
	})
	return limit
}

// quotaCPUs returns the lowest CPU quota in CPUs, rounded up, math.MaxInt if there is none.
func quotaCPUs(root string) int {
	limit := math.MaxInt
	walk(root, "cpu", func(group string, version int) {
		var quota, period uint64
		var limited, ok bool
		if version == 1 {
			quota, limited = number(field(filepath.Join(group, "cpu.cfs_quota_us"), 0)) // -1 is none
			period, ok = number(field(filepath.Join(group, "cpu.cfs_period_us"), 0))
		} else {
			quota, limited = number(field(filepath.Join(group, "cpu.max"), 0)) // "max" is none
			period, ok = number(field(filepath.Join(group, "cpu.max"), 1))
		}
		if limited && ok && period > 0 {
			limit = min(limit, int((quota+period-1)/period))
		}
	})
	return limit
}

// walk calls visit with the directory of the process's group for a controller and of those
// above it. root is the directory that contains proc and sys.
func walk(root, controller string, visit func(group string, version int)) {
	list, err := os.ReadFile(filepath.Join(root, "proc/self/cgroup"))
	if err != nil {
		return
	}
	for line := range strings.Lines(string(list)) {
		// hierarchy:controllers:path, with hierarchy 0 and no controllers for version 2.
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		mount, version := filepath.Join(root, "sys/fs/cgroup"), 2
		if f[0] != "0" || f[1] != "" {
			if !contains(f[1], controller) {
				continue
			}
			mount, version = filepath.Join(mount, f[1]), 1
			if _, err := os.Stat(mount); err != nil {
				mount = filepath.Join(root, "sys/fs/cgroup", controller)
			}
		}
		// In a container the path may be the host's, and only the mount point exists.
		for path := filepath.Clean("/" + f[2]); ; path = filepath.Dir(path) {
			visit(filepath.Join(mount, path), version)
			if path == "/" {
				break
			}
		}
	}
}

func contains(list, name string) bool {
	for c := range strings.SplitSeq(list, ",") {
		if c == name {
			return true
		}
	}
	return false
}

// field returns one of the words in a file, "" if there is none.
func field(file string, i int) string {
	b, err := os.ReadFile(file)
	words := strings.Fields(string(b))
	if err != nil || i >= len(words) {
		return ""
	}
	return words[i]
}

func number(s string) (uint64, bool) {
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil
}
