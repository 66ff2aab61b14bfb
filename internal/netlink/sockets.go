package netlink

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// SocketEntry is one line of /proc/net/netlink: a netlink socket of any process
// in a network namespace.
type SocketEntry struct {
	Protocol int    // NETLINK_*
	PortID   uint32 // 0 for the kernel's own sockets
	Queued   uint64 // bytes of SO_RCVBUF that waiting messages use, without rings
	Drops    uint64 // messages that could not be queued
	Inode    uint64 // number of the socket in /proc/PID/fd
}

// Sockets lists the netlink sockets of one protocol in the network namespace of
// the calling thread.
func Sockets(protocol int) ([]SocketEntry, error) {
	text, err := os.ReadFile(socketTable())
	if err != nil {
		return nil, &OpError{Op: "read", Err: err}
	}
	var list []SocketEntry
	err = parseSockets(text, protocol, func(s SocketEntry) { list = append(list, s) })
	if err != nil {
		return nil, &OpError{Op: "read", Err: err}
	}
	return list, nil
}

// socketTable is the table of the calling thread's network namespace. thread-self exists since
// Linux 3.17.
func socketTable() string { return fmt.Sprintf("/proc/self/task/%d/net/netlink", unix.Gettid()) }

// parseSockets reads the table's text: a line of column names, then a line for each socket
// (netlink_seq_show, net/netlink/af_netlink.c, Linux 3.10 to 6.18). Columns are found by name,
// because later kernels add columns.
func parseSockets(text []byte, protocol int, each func(SocketEntry)) error {
	s := bufio.NewScanner(bytes.NewReader(text))
	if !s.Scan() {
		return fmt.Errorf("netlink socket table: %w: it is empty", ErrMalformed)
	}
	column := map[string]int{}
	for i, name := range bytes.Fields(s.Bytes()) {
		column[string(name)] = i
	}
	names := []string{"Eth", "Pid", "Rmem", "Drops", "Inode"}
	var at [5]int
	for i, name := range names {
		c, ok := column[name]
		if !ok {
			return fmt.Errorf("netlink socket table: %w: no column %s in %q", ErrMalformed, name, s.Text())
		}
		at[i] = c
	}
	for s.Scan() {
		f := bytes.Fields(s.Bytes())
		var v [5]uint64
		for i, c := range at {
			// The kernel's own sockets have negative ids on some kernels.
			if c >= len(f) {
				return fmt.Errorf("netlink socket table: %w: %q", ErrMalformed, s.Text())
			}
			n, err := strconv.ParseInt(string(f[c]), 10, 64)
			if err != nil {
				return fmt.Errorf("netlink socket table: %w: %s %q", ErrMalformed, names[i], f[c])
			}
			v[i] = uint64(n)
		}
		if int64(v[0]) == int64(protocol) && v[1] <= 1<<32-1 {
			each(SocketEntry{Protocol: protocol, PortID: uint32(v[1]), Queued: v[2], Drops: v[3], Inode: v[4]})
		}
	}
	return s.Err()
}
