package rundir

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// LockedError means that another process has the lock.
type LockedError struct {
	Path string
	PID  int // of that process, 0 if it has not written it yet
}

func (e *LockedError) Error() string {
	if e.PID == 0 {
		return "another process has the lock " + e.Path
	}
	return fmt.Sprintf("process %d has the lock %s", e.PID, e.Path)
}

// Lock is a lock that this process has.
type Lock struct {
	dir  *Dir
	name string
	file *os.File
}

// maxPID is the maximum size of a lock file in bytes: a process id and a newline.
const maxPID = 16

// Lock acquires the lock with the given name, without waiting. The error is a *LockedError if
// another process has it. The caller releases it before it closes the directory.
func (d *Dir) Lock(name string) (*Lock, error) {
	for {
		f, err := d.open(name, unix.O_RDWR|unix.O_CREAT, 0o644)
		if err != nil {
			return nil, err
		}
		if err := flock(f); err != nil {
			defer f.Close()
			if !errors.Is(err, unix.EWOULDBLOCK) {
				return nil, &os.PathError{Op: "flock", Path: f.Name(), Err: err}
			}
			return nil, &LockedError{Path: f.Name(), PID: owner(f)}
		}
		// The previous owner may have removed the file after it was opened here.
		if !d.has(name, f) {
			f.Close()
			continue
		}
		l := &Lock{d, name, f}
		if err = f.Truncate(0); err == nil {
			_, err = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
		}
		if err != nil {
			l.Release()
			return nil, err
		}
		return l, nil
	}
}

// Release removes the lock's file and releases the lock. A nil Lock does nothing.
func (l *Lock) Release() {
	if l == nil {
		return
	}
	_ = unix.Unlinkat(int(l.dir.file.Fd()), l.name, 0)
	l.file.Close()
}

func flock(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// owner returns the process id in a lock file, 0 if there is none.
func owner(f *os.File) int {
	text := make([]byte, maxPID)
	n, _ := f.ReadAt(text, 0) // a short read is normal
	pid, err := strconv.Atoi(strings.TrimSpace(string(text[:n])))
	if err != nil {
		return 0
	}
	return pid
}

// has reports whether the name is that of the open file.
func (d *Dir) has(name string, f *os.File) bool {
	var now, opened unix.Stat_t
	if unix.Fstatat(int(d.file.Fd()), name, &now, unix.AT_SYMLINK_NOFOLLOW) != nil ||
		unix.Fstat(int(f.Fd()), &opened) != nil {
		return false
	}
	return now.Dev == opened.Dev && now.Ino == opened.Ino
}
