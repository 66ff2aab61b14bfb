package control

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"

	"dpifd/internal/rundir"

	"golang.org/x/sys/unix"
)

// ErrInUse means that another process serves the socket.
var ErrInUse = errors.New("another process serves it")

// maxPath is sizeof(sockaddr_un.sun_path) minus its terminating zero, linux/un.h.
const maxPath = 107

// socketFile is a bound socket's name in the file system.
type socketFile struct {
	path     string
	dev, ino uint64
}

// bind creates a socket that listens at path, with the mode and, if possible, the group;
// groupErr is why the group could not be set. The directory is created if it is missing; other
// users must not be able to create sockets there. A socket that nobody serves is replaced.
func bind(path, group string, mode fs.FileMode) (l *net.UnixListener, file *socketFile, groupErr, err error) {
	dir := filepath.Dir(path)
	// The socket has a temporary name until it listens and has its mode, so that clients never
	// find an incomplete one.
	temporary := filepath.Join(dir, fmt.Sprintf(".%d", os.Getpid()))
	if max(len(path), len(temporary)) > maxPath {
		return nil, nil, nil, fmt.Errorf("%s: a socket's path has at most %d bytes", path, maxPath)
	}
	lock, err := lockDir(dir)
	if err != nil {
		return nil, nil, nil, err
	}
	defer lock.Close()
	if err := clearStale(path); err != nil {
		return nil, nil, nil, err
	}
	_ = os.Remove(temporary) // of a dead process that had this id
	if l, err = net.ListenUnix("unix", &net.UnixAddr{Name: temporary, Net: "unix"}); err != nil {
		return nil, nil, nil, err
	}
	l.SetUnlinkOnClose(false)
	groupErr = giveGroup(temporary, group)
	file = &socketFile{path: temporary}
	err = file.identify()
	if err == nil {
		err = os.Chmod(temporary, mode)
	}
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		l.Close()
		_ = os.Remove(temporary)
		return nil, nil, nil, err
	}
	file.path = path
	return l, file, groupErr, nil
}

func (f *socketFile) identify() error {
	var st unix.Stat_t
	if err := unix.Lstat(f.path, &st); err != nil {
		return &os.PathError{Op: "stat", Path: f.path, Err: err}
	}
	f.dev, f.ino = uint64(st.Dev), st.Ino
	return nil
}

// remove removes the name, unless it now belongs to another socket.
func (f *socketFile) remove() {
	now := socketFile{path: f.path}
	if now.identify() == nil && now.dev == f.dev && now.ino == f.ino {
		_ = os.Remove(f.path)
	}
}

// lockDir opens dir and locks it, so that others do not check and bind at the same time. Closing
// the file releases the lock.
func lockDir(dir string) (*os.File, error) {
	f, err := rundir.OpenSticky(dir)
	if err != nil {
		return nil, err
	}
	for {
		err = unix.Flock(int(f.Fd()), unix.LOCK_EX)
		if !errors.Is(err, unix.EINTR) {
			break
		}
	}
	if err != nil {
		f.Close()
		return nil, &os.PathError{Op: "flock", Path: dir, Err: err}
	}
	return f, nil
}

// clearStale removes a socket that nobody listens to.
func clearStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: exists and is not a socket", path)
	}
	conn, err := net.DialUnix("unix", nil, &net.UnixAddr{Name: path, Net: "unix"})
	if err == nil {
		defer conn.Close()
		who := ""
		if peer, err := peerOf(conn); err == nil {
			who = fmt.Sprintf(" (process %d)", peer.PID)
		}
		return fmt.Errorf("%s: %w%s", path, ErrInUse, who)
	}
	if !errors.Is(err, unix.ECONNREFUSED) {
		return fmt.Errorf("%s: cannot tell whether it is served: %w", path, err)
	}
	return os.Remove(path)
}

// giveGroup sets the group of the file, by name or number.
func giveGroup(path, group string) error {
	if group == "" {
		return nil
	}
	gid, err := strconv.Atoi(group)
	if err != nil {
		g, err := user.LookupGroup(group)
		if err != nil {
			return err
		}
		if gid, err = strconv.Atoi(g.Gid); err != nil {
			return fmt.Errorf("group %s: id %q", group, g.Gid)
		}
	}
	return os.Chown(path, -1, gid)
}

// Peer is the process at the other end of a connection, as recorded when it connected
// (SO_PEERCRED).
type Peer struct {
	PID      int32
	UID, GID uint32
}

func peerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	err = raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err = errors.Join(err, credErr); err != nil {
		return Peer{}, fmt.Errorf("SO_PEERCRED: %w", err)
	}
	return Peer{PID: cred.Pid, UID: cred.Uid, GID: cred.Gid}, nil
}
