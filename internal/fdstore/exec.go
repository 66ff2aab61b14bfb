package fdstore

import (
	"fmt"
	"math/bits"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Exec replaces this process by the program at path, passes the open descriptors and their
// states (words), and does not return. After an error, which names the program, nothing has
// changed. The program starts in the network namespace of the calling thread, with SIGUSR1 and
// SIGUSR2 blocked, so that they wait until it handles them.
func Exec(path string, argv []string, descriptors []Descriptor) error {
	if len(descriptors) > MaxDescriptors {
		return fmt.Errorf("exec %s: %d descriptors to pass on, %d at most: %w", path, len(descriptors), MaxDescriptors,
			unix.E2BIG)
	}
	list := strconv.Itoa(os.Getpid())
	for _, d := range descriptors {
		list += " " + strconv.Itoa(d.FD)
		if d.State != "" {
			list += "=" + d.State
		}
	}
	env := slices.DeleteFunc(os.Environ(), func(s string) bool { return strings.HasPrefix(s, envExec+"=") })
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var before unix.Sigset_t
	err := unix.PthreadSigmask(unix.SIG_BLOCK, signalSet(), &before)
	if err == nil {
		err = setCloseOnExec(descriptors, false)
	}
	if err == nil {
		err = unix.Exec(path, argv, append(env, envExec+"="+list))
	}
	_ = unix.PthreadSigmask(unix.SIG_SETMASK, &before, nil)
	// The first error is reported; this restores the flags.
	_ = setCloseOnExec(descriptors, true)
	return fmt.Errorf("exec %s: %w", path, err)
}

// signalSet returns the signals that are blocked across Exec. Their default action ends the
// process, which has no handlers at its start.
func signalSet() *unix.Sigset_t {
	var set unix.Sigset_t
	const size = bits.UintSize // of an unsigned long, as Val's elements are
	for _, sig := range []unix.Signal{unix.SIGUSR1, unix.SIGUSR2} {
		bit := int(sig) - 1
		set.Val[bit/size] |= 1 << (bit % size)
	}
	return &set
}

func setCloseOnExec(descriptors []Descriptor, on bool) error {
	flags := 0
	if on {
		flags = unix.FD_CLOEXEC
	}
	for _, d := range descriptors {
		if _, err := unix.FcntlInt(uintptr(d.FD), unix.F_SETFD, flags); err != nil {
			return fmt.Errorf("descriptor %d: %w", d.FD, err)
		}
	}
	return nil
}
