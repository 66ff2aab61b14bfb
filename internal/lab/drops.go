//go:build lab

package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// SocketDrops returns the number of messages that the kernel could not queue on generic netlink
// sockets of the namespace since they were opened. The sockets are given by their port ids and
// may belong to any process.
func (n *NetNS) SocketDrops(t testing.TB, portIDs ...uint32) int {
	t.Helper()
	return n.sumSockets(t, "Drops", portIDs)
}

// SocketQueued returns the memory in bytes of the messages queued on such sockets.
func (n *NetNS) SocketQueued(t testing.TB, portIDs ...uint32) int {
	t.Helper()
	return n.sumSockets(t, "Rmem", portIDs)
}

// sumSockets sums a column of /proc/net/netlink.
func (n *NetNS) sumSockets(t testing.TB, name string, portIDs []uint32) (sum int) {
	t.Helper()
	table := n.Run(t, "cat", "/proc/thread-self/net/netlink")
	head, rows, _ := strings.Cut(table, "\n")
	column := func(name string) int { return slices.Index(strings.Fields(head), name) }
	protocol, portID, wanted := column("Eth"), column("Pid"), column(name)
	if protocol < 0 || portID < 0 || wanted < 0 {
		t.Fatalf("unknown columns in\n%s", table)
	}
	found := 0
	for row := range strings.Lines(rows) {
		f := strings.Fields(row)
		if len(f) <= max(protocol, portID, wanted) || f[protocol] != fmt.Sprint(unix.NETLINK_GENERIC) {
			continue
		}
		id, err := strconv.ParseUint(f[portID], 10, 32)
		if err != nil || !slices.Contains(portIDs, uint32(id)) {
			continue
		}
		count, err := strconv.Atoi(f[wanted])
		if err != nil {
			t.Fatalf("%v in\n%s", err, table)
		}
		sum += count
		found++
	}
	if found != len(portIDs) {
		t.Errorf("%d of %d sockets are in\n%s", found, len(portIDs), table)
	}
	return sum
}
