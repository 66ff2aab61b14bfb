package netlink

import (
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// sockets44 has the layout of Linux 4.4.
const sockets44 = `sk       Eth Pid    Groups   Rmem     Wmem     Dump     Locks     Drops     Inode
ffff88003d8f5000 0   0      00000000 0        0        0 2        0        6
ffff88003b4a1000 16  1042   00000000 4352     0        0 3        4021     8123
ffff88003b4a1800 16  4294967290 00000001 0        0        0 2        0        8124
ffff88003b4a2000 16  -4100  00000000 0        0        0 2        9        8125
ffff88003b4a2800 15  1042   00000000 0        0        0 2        77       8126
`

func TestParseSockets(t *testing.T) {
	var got []SocketEntry
	add := func(s SocketEntry) { got = append(got, s) }
	if err := parseSockets([]byte(sockets44), unix.NETLINK_GENERIC, add); err != nil {
		t.Fatal(err)
	}
	want := []SocketEntry{
		{Protocol: 16, PortID: 1042, Queued: 4352, Drops: 4021, Inode: 8123},
		{Protocol: 16, PortID: 4294967290, Inode: 8124},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	head, _, _ := strings.Cut(sockets44, "\n")
	for _, bad := range []string{"", "sk Eth Pid\n", head + "\nx 16 1\n", head + "\nx 16 1 0 0 0 0 2 many 6\n",
		head + "\nx 16 1 0 0 0 0 2 1 ?\n"} {
		err := parseSockets([]byte(bad), unix.NETLINK_GENERIC, func(SocketEntry) {})
		if !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func FuzzParseSockets(f *testing.F) {
	f.Add([]byte(sockets44))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = parseSockets(text, unix.NETLINK_GENERIC, func(s SocketEntry) {
			if s.Protocol != unix.NETLINK_GENERIC {
				t.Errorf("socket %+v of another protocol", s)
			}
		})
	})
}

// TestSockets finds the test's own socket and its queue.
func TestSockets(t *testing.T) {
	c, err := Dial(unix.NETLINK_ROUTE, Config{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	find := func() *SocketEntry {
		list, err := Sockets(unix.NETLINK_ROUTE)
		if errors.Is(err, os.ErrNotExist) {
			t.Skipf("no socket table: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range list {
			if s.PortID == c.PortID() {
				return &s
			}
		}
		return nil
	}
	before := find()
	if before == nil || before.Queued != 0 || before.Inode == 0 {
		t.Fatalf("socket with port id %d: %+v", c.PortID(), before)
	}
	var e Encoder
	e.Begin(unix.RTM_GETLINK, unix.NLM_F_REQUEST|unix.NLM_F_DUMP)
	e.Raw(make([]byte, unix.SizeofIfInfomsg)...)
	e.End()
	if err := unix.Sendto(c.FD(), e.Bytes(), 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		t.Fatal(err)
	}
	if after := find(); after == nil || after.Queued == 0 {
		t.Errorf("with an unread answer: %+v", after)
	}
}
