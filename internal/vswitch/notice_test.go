package vswitch

import (
	"encoding/binary"
	"testing"

	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// linkNotice builds an RTM_NEWLINK about a device.
func linkNotice(name string, ifindex uint32) []byte {
	var e netlink.Encoder
	e.Begin(unix.RTM_NEWLINK, 0)
	for i := range sizeofIfinfomsg / 4 {
		e.RawUint32(map[bool]uint32{true: ifindex}[i == offIfiIndex/4])
	}
	e.Uint32(13, 1000) // IFLA_TXQLEN
	e.String(iflaIfname, name)
	e.End()
	return e.Bytes()
}

// ovsNotice builds an OVS_VPORT_CMD_SET about a datapath.
func ovsNotice(index int32) []byte {
	const cmdSet, vportAttrName = 4, 3 // linux/openvswitch.h
	var e netlink.Encoder
	e.Begin(dpiftest.Families().Vport.ID, 0)
	genl.AppendHeader(&e, cmdSet, 2)
	e.RawUint32(uint32(index))
	e.String(vportAttrName, "va")
	e.End()
	return e.Bytes()
}

// testNotifier returns a notifier of a datapath that is concerned with devices of name late or
// index 7.
func testNotifier() *notifier {
	links := func(ifindex uint32, name string, deleted bool) bool { return name == "late" || ifindex == 7 }
	return &notifier{dp: dpiftest.Datapath(nil), links: links}
}

func TestNotices(t *testing.T) {
	n := testNotifier()
	for _, tt := range []struct {
		name     string
		message  []byte
		concerns func(netlink.Header, []byte) bool
		want     bool
	}{
		{"a vport of this datapath", ovsNotice(dpiftest.Index), n.concernsDatapath, true},
		{"of another datapath", ovsNotice(dpiftest.Index + 1), n.concernsDatapath, false},
		{"cut short", ovsNotice(dpiftest.Index + 1)[:22], n.concernsDatapath, true},
		{"the device of a port that waits", linkNotice("late", 0), n.concernsLink, true},
		{"another device", linkNotice("lat", 0), n.concernsLink, false},
		{"the device of a port", linkNotice("va", 7), n.concernsLink, true},
		{"a device without name", linkNotice("late", 0)[:40], n.concernsLink, false},
	} {
		h, payload := netlink.Header{Type: unix.RTM_NEWLINK}, tt.message[16:]
		if got := tt.concerns(h, payload); got != tt.want {
			t.Errorf("%s: concerns %v, want %v", tt.name, got, tt.want)
		}
	}
}

// FuzzNotice feeds the notifications that the port poll reads. A malformed notification of the
// datapath causes a look, and nothing else.
func FuzzNotice(f *testing.F) {
	f.Add(ovsNotice(dpiftest.Index))
	f.Add(ovsNotice(dpiftest.Index + 1))
	f.Add(linkNotice("late", 0))
	f.Add(linkNotice("late", 0)[:34])
	f.Add(linkNotice("vb", 7))
	n := testNotifier()
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, _, err := netlink.SplitMessage(b)
		if err != nil {
			return
		}
		_, _, rest, err := genl.ParseHeader(payload)
		other := err == nil && len(rest) >= 4 && int32(binary.NativeEndian.Uint32(rest)) != dpiftest.Index
		if n.concernsDatapath(h, payload) == other {
			t.Fatal("the datapath is another one")
		}
		n.concernsLink(h, payload)
	})
}
