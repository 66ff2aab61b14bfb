package fdstore

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// sendLimit limits the wait for a manager that does not read, in seconds.
const sendLimit = 5

// Store is the service manager's file descriptor store. Its methods, except Close, may be
// called from any goroutine.
type Store struct {
	fd  int
	max int
}

// Open returns the store of the manager that started this process, nil if there
// is none, or if it keeps no descriptors: NOTIFY_SOCKET or FDSTORE is not set.
// The caller closes it.
func Open() (*Store, error) {
	path := os.Getenv("NOTIFY_SOCKET")
	size, err := strconv.Atoi(os.Getenv("FDSTORE"))
	if err != nil || size <= 0 || path == "" || !strings.HasPrefix(path, "/") && !strings.HasPrefix(path, "@") {
		return nil, nil
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("service manager's socket %s: %w", path, err)
	}
	err = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_SNDTIMEO, &unix.Timeval{Sec: sendLimit})
	if err == nil {
		err = unix.Connect(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		unix.Close(fd)
		return nil, fmt.Errorf("service manager's socket %s: %w", path, err)
	}
	return &Store{fd: fd, max: min(size, MaxDescriptors)}, nil
}

// Max returns the capacity of the store.
func (s *Store) Max() int { return s.max }

// Keep makes the manager keep a duplicate of fd under a name, in addition to those that it has
// under that name. The manager does not report whether it did; beyond Max it does not.
func (s *Store) Keep(name string, fd int) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.send("FDSTORE=1\nFDPOLL=0\nFDNAME="+name, unix.UnixRights(fd))
}

// Forget makes the manager close all descriptors under a name.
func (s *Store) Forget(name string) error {
	if err := checkName(name); err != nil {
		return err
	}
	return s.send("FDSTOREREMOVE=1\nFDNAME="+name, nil)
}

// Close closes the connection. Stored descriptors stay.
func (s *Store) Close() error { return unix.Close(s.fd) }

func (s *Store) send(message string, rights []byte) error {
	for {
		err := unix.Sendmsg(s.fd, []byte(message), rights, nil, unix.MSG_NOSIGNAL)
		if err == nil {
			return nil
		}
		if err != unix.EINTR {
			verb, _, _ := strings.Cut(message, "=")
			return fmt.Errorf("%s to the service manager: %w", verb, err)
		}
	}
}

// maxName is FDNAME_MAX of systemd's fd-util.h.
const maxName = 255

// checkName refuses names that the manager would refuse (fdname_is_valid, systemd 252).
func checkName(name string) error {
	bad := strings.IndexFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ':' })
	if name == "" || len(name) > maxName || bad >= 0 {
		return fmt.Errorf("descriptor name %q: %w", name, unix.EINVAL)
	}
	return nil
}

// WithState adds the state of a descriptor for the next process to a name; the state must be
// valid in a name. See Descriptor.State.
func WithState(name, state string) string {
	if state == "" {
		return name
	}
	return name + "/" + state
}

// stateOf is the state in a name, empty if there is none.
func stateOf(name string) string {
	_, state, _ := strings.Cut(name[strings.LastIndexByte(name, '@')+1:], "/")
	return state
}

// Name returns a name for a descriptor of an object, with a number that distinguishes it. Bytes
// that a name must not contain become '_'.
func Name(object string, number uint32) string {
	b := []byte(object[:min(len(object), maxName-11)])
	for i, c := range b {
		if c <= ' ' || c >= 0x7f || c == ':' {
			b[i] = '_'
		}
	}
	return fmt.Sprintf("%s@%d", b, number)
}
