package netlink

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// drops44 is laid out as Linux 4.4 prints it.
const drops44 = `sk       Eth Pid    Groups   Rmem     Wmem     Dump     Locks     Drops     Inode
ffff88003d8f5000 0   0      00000000 0        0        0 2        0        6
ffff88003b4a1000 16  1042   00000000 4352     0        0 3        4021     8123
ffff88003b4a1800 16  4294967290 00000001 0        0        0 2        0        8124
ffff88003b4a2000 16  -4100  00000000 0        0        0 2        9        8125
ffff88003b4a2800 15  1042   00000000 0        0        0 2        77       8126
`

func TestParseDrops(t *testing.T) {
	got := map[uint32]uint64{}
	if err := parseDrops([]byte(drops44), unix.NETLINK_GENERIC, got); err != nil {
		t.Fatal(err)
	}
	want := map[uint32]uint64{1042: 4021, 4294967290: 0}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for _, bad := range []string{"", "sk Eth Pid\n", "Eth Pid Drops\n16 1\n", "Eth Pid Drops\n16 1 many\n"} {
		if err := parseDrops([]byte(bad), unix.NETLINK_GENERIC, got); !errors.Is(err, ErrMalformed) {
			t.Errorf("%q: error %v", bad, err)
		}
	}
}

func FuzzParseDrops(f *testing.F) {
	f.Add([]byte(drops44))
	f.Fuzz(func(t *testing.T, text []byte) {
		_ = parseDrops(text, unix.NETLINK_GENERIC, map[uint32]uint64{})
	})
}
