package fdstore

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxDescriptors is the maximum number of descriptors that are stored or passed. Their names
// are passed in one environment variable, which the kernel limits to 128 KiB (MAX_ARG_STRLEN,
// linux/binfmts.h of Linux 6.1).
const MaxDescriptors = 4096

// MaxNames is the maximum size in bytes of the names of all stored descriptors, with
// separators: they share that variable.
const MaxNames = 120 << 10

// firstListenFD is SD_LISTEN_FDS_START of sd-daemon.h.
const firstListenFD = 3

// Names of the environment variables.
const (
	envPID   = "LISTEN_PID"
	envCount = "LISTEN_FDS"
	envNames = "LISTEN_FDNAMES"
	envExec  = "DPIFD_FDS"
)

// Descriptor is an open descriptor that was passed to this process.
type Descriptor struct {
	FD   int
	Name string // under which the manager keeps it; empty after Exec
	// State is the state that the previous process set, see WithState. It may be wrong.
	State string
}

// Inherited returns the descriptors that the service manager, or the program before Exec,
// passed, and sets close-on-exec. It removes the variables from the environment, so call it
// once, before the process starts others. It returns nil if there are none.
func Inherited() []Descriptor {
	passed := parse(os.Getenv, os.Getpid())
	for _, name := range []string{envPID, envCount, envNames, envExec} {
		os.Unsetenv(name) // fails for empty names only
	}
	var open []Descriptor
	for _, d := range passed {
		// Descriptors that this process opened have close-on-exec.
		flags, err := unix.FcntlInt(uintptr(d.FD), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		unix.CloseOnExec(d.FD)
		open = append(open, d)
	}
	return open
}

// parse reads the variables. Each descriptor is returned once; invalid entries are skipped.
func parse(getenv func(string) string, pid int) []Descriptor {
	var list []Descriptor
	seen := map[int]bool{}
	add := func(fd int, name, state string) {
		if len(list) < MaxDescriptors && fd >= firstListenFD && !seen[fd] {
			seen[fd] = true
			list = append(list, Descriptor{FD: fd, Name: name, State: state})
		}
	}
	if own, err := strconv.Atoi(getenv(envPID)); err == nil && own == pid {
		count, err := strconv.Atoi(getenv(envCount))
		if err != nil {
			count = 0
		}
		names := strings.Split(getenv(envNames), ":")
		for i := range min(count, MaxDescriptors) {
			name := ""
			if i < len(names) {
				name = names[i]
			}
			add(firstListenFD+i, name, stateOf(name))
		}
	}
	fields := strings.Fields(getenv(envExec))
	if len(fields) > 0 && fields[0] == strconv.Itoa(pid) {
		for _, field := range fields[1:min(len(fields), MaxDescriptors+1)] {
			number, state, _ := strings.Cut(field, "=")
			if fd, err := strconv.Atoi(number); err == nil {
				add(fd, "", state)
			}
		}
	}
	return list
}
