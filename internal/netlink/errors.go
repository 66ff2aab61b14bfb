package netlink

import (
	"errors"
	"fmt"
	"os"

	"golang.org/x/sys/unix"
)

var (
	// ErrMalformed marks bytes that do not follow the netlink format.
	ErrMalformed = errors.New("malformed netlink data")

	// ErrClosed is returned by operations on a closed socket or Batch. It
	// matches os.ErrClosed.
	ErrClosed = fmt.Errorf("netlink: %w", os.ErrClosed)

	// ErrDumpInterrupted is returned by Conn.Dump if the dumped objects changed during each
	// attempt.
	ErrDumpInterrupted = errors.New("dump interrupted by changes")
)

// errOverflow is allocated once, because overflows happen on the packet path.
var errOverflow = &OpError{Op: "receive", Err: unix.ENOBUFS}

var errTruncated = &OpError{Op: "receive", Err: fmt.Errorf("answer of more than %d bytes: %w", maxDatagram,
	unix.EMSGSIZE)}

// OpError is the error of every operation of this package. The errno that the
// kernel returned, if any, matches with errors.Is.
type OpError struct {
	Op     string // operation: "bind", "receive", "transact", ...
	Err    error
	Extack string // NLMSGERR_ATTR_MSG of the kernel's answer, "" if there is none
}

func (e *OpError) Error() string {
	s := "netlink " + e.Op + ": " + e.Err.Error()
	if e.Extack != "" {
		s += " (kernel: " + e.Extack + ")"
	}
	return s
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }
