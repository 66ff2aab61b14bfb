package rundir

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// Path is the runtime directory, RuntimeDirectory of the service.
const Path = "/run/dpifd"

// mode is the mode of a directory that is created.
const mode = 0o755

// ErrWritable means that other users could replace files in the directory.
var ErrWritable = errors.New("others could replace files in it")

// Dir is an open directory.
type Dir struct {
	path string
	file *os.File
}

// Make creates a directory if it is missing, independent of the umask.
func Make(path string) error {
	err := os.Mkdir(path, mode)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err == nil {
		err = os.Chmod(path, mode)
	}
	return err
}

// Open opens a directory, and creates it if it is missing. The caller closes it. The error
// matches ErrWritable if users other than the owner may write to it, or if the owner is neither
// root nor this process's user.
func Open(path string) (*Dir, error) {
	if err := Make(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	if err := trusted(f, 0o022); err != nil {
		f.Close()
		return nil, err
	}
	return &Dir{path, f}, nil
}

// OpenSticky is Open that also accepts a directory that others may write to if it has the
// sticky bit: they cannot rename or remove files of other users.
func OpenSticky(path string) (*os.File, error) {
	if err := Make(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDONLY|unix.O_DIRECTORY|unix.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	writable := uint32(0o022)
	if unix.Fstat(int(f.Fd()), &st) == nil && st.Mode&unix.S_ISVTX != 0 {
		writable = 0
	}
	if err := trusted(f, writable); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// trusted checks the owner of f, and that its mode has none of the bits.
func trusted(f *os.File, bits uint32) error {
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.Name(), Err: err}
	}
	if st.Mode&bits != 0 || st.Uid != 0 && int(st.Uid) != os.Geteuid() {
		return fmt.Errorf("%s: mode %04o, owner %d: %w", f.Name(), st.Mode&0o7777, st.Uid, ErrWritable)
	}
	return nil
}

// Close closes the directory.
func (d *Dir) Close() error { return d.file.Close() }

// open opens a file of the directory that is not a symbolic link.
func (d *Dir) open(name string, flags int, perm uint32) (*os.File, error) {
	path := filepath.Join(d.path, name)
	for {
		fd, err := unix.Openat(int(d.file.Fd()), name, flags|unix.O_NOFOLLOW|unix.O_CLOEXEC|unix.O_NONBLOCK, perm)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, &os.PathError{Op: "open", Path: path, Err: err}
		}
		return os.NewFile(uintptr(fd), path), nil
	}
}

// WriteFile replaces a file of the directory, with mode 0600. Readers find the old content or
// the new one.
func (d *Dir) WriteFile(name string, data []byte) error {
	partial := name + ".new"
	// A leftover of a killed process, or anything else with the name.
	if err := unix.Unlinkat(int(d.file.Fd()), partial, 0); err != nil && !errors.Is(err, unix.ENOENT) {
		return &os.PathError{Op: "remove", Path: filepath.Join(d.path, partial), Err: err}
	}
	f, err := d.open(partial, unix.O_WRONLY|unix.O_CREAT|unix.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Close())
	if err == nil {
		err = unix.Renameat(int(d.file.Fd()), partial, int(d.file.Fd()), name)
	}
	if err != nil {
		_ = unix.Unlinkat(int(d.file.Fd()), partial, 0)
		return fmt.Errorf("write %s: %w", filepath.Join(d.path, name), err)
	}
	return nil
}

// ReadFile returns at most limit bytes of a regular file of the directory. The error
// matches fs.ErrNotExist if there is none.
func (d *Dir) ReadFile(name string, limit int64) ([]byte, error) {
	f, err := d.open(name, unix.O_RDONLY, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s: is not a regular file", f.Name())
	}
	if err := trusted(f, 0o022); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, limit))
}
