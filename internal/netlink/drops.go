package netlink

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// DropTable reads how many messages the kernel could not queue on each netlink
// socket of a network namespace, from /proc/net/netlink. It is for kernels
// before 4.12, which do not have SO_MEMINFO (Receiver.MemInfo) and whose
// ENOBUFS tells only that something was lost. It belongs to one goroutine at a
// time.
type DropTable struct {
	file *os.File
	buf  bytes.Buffer
}

// OpenDropTable opens the table of the calling thread's network namespace. The
// caller closes it.
func OpenDropTable() (*DropTable, error) {
	// thread-self is there from Linux 3.17 on.
	path := fmt.Sprintf("/proc/self/task/%d/net/netlink", unix.Gettid())
	f, err := os.Open(path)
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
	if err := parseDrops(t.buf.Bytes(), protocol, drops); err != nil {
		return &OpError{Op: "read", Err: err}
	}
	return nil
}

// Close closes the table.
func (t *DropTable) Close() error { return t.file.Close() }

// parseDrops reads the table's text: a line of column names, then a line for
// each socket (netlink_seq_show, net/netlink/af_netlink.c, Linux 3.10 to
// 6.18). Columns are found by name, since later kernels add some.
func parseDrops(text []byte, protocol int, drops map[uint32]uint64) error {
	s := bufio.NewScanner(bytes.NewReader(text))
	if !s.Scan() {
		return fmt.Errorf("netlink socket table: %w: it is empty", ErrMalformed)
	}
	column := map[string]int{}
	for i, name := range bytes.Fields(s.Bytes()) {
		column[string(name)] = i
	}
	eth, okEth := column["Eth"]
	pid, okPid := column["Pid"]
	drop, okDrop := column["Drops"]
	if !okEth || !okPid || !okDrop {
		return fmt.Errorf("netlink socket table: %w: no column Eth, Pid or Drops in %q", ErrMalformed, s.Text())
	}
	for s.Scan() {
		f := bytes.Fields(s.Bytes())
		if len(f) <= max(eth, pid, drop) {
			return fmt.Errorf("netlink socket table: %w: %q", ErrMalformed, s.Text())
		}
		if n, err := strconv.Atoi(string(f[eth])); err != nil || n != protocol {
			continue
		}
		port, err := strconv.ParseUint(string(f[pid]), 10, 32)
		if err != nil {
			continue // the kernel's own sockets have negative ids on some kernels
		}
		n, err := strconv.ParseUint(string(f[drop]), 10, 64)
		if err != nil {
			return fmt.Errorf("netlink socket table: %w: drops %q", ErrMalformed, f[drop])
		}
		drops[uint32(port)] += n
	}
	return s.Err()
}
