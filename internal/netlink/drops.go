package netlink

import (
	"bytes"
	"io"
	"os"
)

// DropTable reads how many messages the kernel could not queue on each netlink socket of a
// network namespace, from /proc/net/netlink. It is for kernels before 4.12: they lack
// SO_MEMINFO (Receiver.MemInfo), and ENOBUFS does not say how much was lost. It belongs to one
// goroutine at a time.
type DropTable struct {
	file *os.File
	buf  bytes.Buffer
}

// OpenDropTable opens the table of the calling thread's network namespace. The
// caller closes it.
func OpenDropTable() (*DropTable, error) {
	f, err := os.Open(socketTable())
	if err != nil {
		return nil, &OpError{Op: "open", Err: err}
	}
	return &DropTable{file: f}, nil
}

// Read fills drops, which it empties first, with the number of drops by port id,
// for the sockets of one protocol.
func (t *DropTable) Read(protocol int, drops map[uint32]uint64) error {
	clear(drops)
	if _, err := t.file.Seek(0, io.SeekStart); err != nil {
		return &OpError{Op: "read", Err: err}
	}
	t.buf.Reset()
	if _, err := t.buf.ReadFrom(t.file); err != nil {
		return &OpError{Op: "read", Err: err}
	}
	err := parseSockets(t.buf.Bytes(), protocol, func(s SocketEntry) { drops[s.PortID] += s.Drops })
	if err != nil {
		return &OpError{Op: "read", Err: err}
	}
	return nil
}

// Close closes the table.
func (t *DropTable) Close() error { return t.file.Close() }
