package fdstore

import (
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// MaxDescriptors is how many descriptors are stored or passed on at most. Their
// names go to the process in one variable of its environment, which the kernel
// bounds at 128 KiB (MAX_ARG_STRLEN, linux/binfmts.h of Linux 6.1).
const MaxDescriptors = 4096

// MaxNames bounds the names of all descriptors stored, a separator each, in bytes: they
// share that variable.
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
	// State is what the process before said of it, see WithState. It may be wrong.
	State string
}

// Inherited returns what the service manager, or the program that this process
// was before Exec, passed on, and marks it close-on-exec. The variables that
// name it are removed from the environment, so it is to be called once, before
// the process starts others. It returns nil when there is nothing.
func Inherited() []Descriptor {
	passed := parse(os.Getenv, os.Getpid())
	for _, name := range []string{envPID, envCount, envNames, envExec} {
		os.Unsetenv(name) // fails for empty names only
	}
	var open []Descriptor
	for _, d := range passed {
		// What this process opened itself is closed on exec.
		flags, err := unix.FcntlInt(uintptr(d.FD), unix.F_GETFD, 0)
		if err != nil || flags&unix.FD_CLOEXEC != 0 {
			continue
		}
		unix.CloseOnExec(d.FD)
		open = append(open, d)
	}
	return open
}

// parse reads the variables. Each descriptor is returned once; what makes no
// sense is left out.
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
