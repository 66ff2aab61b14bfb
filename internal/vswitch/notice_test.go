package vswitch

import (
	"encoding/binary"
	"testing"

	"dpifd/internal/binding"
	"dpifd/internal/dpif/dpiftest"
	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/upcall"

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

func noticeServer() *Server {
	return &Server{bound: binding.NewTable(), dp: dpiftest.Datapath(nil), waiting: map[string]string{"late": "no such device"},
		devices: map[uint32]*channel{7: {Port: upcall.NewPort(1, "va", 0), ifindex: 7}}}
}

func TestNotices(t *testing.T) {
	s := noticeServer()
	for _, tt := range []struct {
		name     string
		message  []byte
		concerns func(netlink.Header, []byte) bool
		want     bool
	}{
		{"a vport of this datapath", ovsNotice(dpiftest.Index), s.concernsDatapath, true},
		{"of another datapath", ovsNotice(dpiftest.Index + 1), s.concernsDatapath, false},
		{"cut short", ovsNotice(dpiftest.Index + 1)[:22], s.concernsDatapath, true},
		{"the device of a port that waits", linkNotice("late", 0), s.concernsLink, true},
		{"another device", linkNotice("lat", 0), s.concernsLink, false},
		{"the device of a port", linkNotice("va", 7), s.concernsLink, false},
		{"the device of a port, with another name", linkNotice("vb", 7), s.concernsLink, true},
		{"a device without name", linkNotice("late", 0)[:40], s.concernsLink, false},
	} {
		h, payload := netlink.Header{Type: unix.RTM_NEWLINK}, tt.message[16:]
		if got := tt.concerns(h, payload); got != tt.want {
			t.Errorf("%s: concerns %v, want %v", tt.name, got, tt.want)
		}
	}
}

// FuzzNotice feeds what the port poll reads of notifications. Whatever cannot
// be read of the datapath's calls for a look, and a look is all that it causes.
func FuzzNotice(f *testing.F) {
	f.Add(ovsNotice(dpiftest.Index))
	f.Add(ovsNotice(dpiftest.Index + 1))
	f.Add(linkNotice("late", 0))
	f.Add(linkNotice("late", 0)[:34])
	f.Add(linkNotice("vb", 7))
	s := noticeServer()
	f.Fuzz(func(t *testing.T, b []byte) {
		h, payload, _, err := netlink.SplitMessage(b)
		if err != nil {
			return
		}
		_, _, rest, err := genl.ParseHeader(payload)
		other := err == nil && len(rest) >= 4 && int32(binary.NativeEndian.Uint32(rest)) != dpiftest.Index
		if s.concernsDatapath(h, payload) == other {
			t.Fatal("the datapath is another one")
		}
		s.concernsLink(h, payload)
		if len(s.waiting) != 1 {
			t.Fatal("a notification changed what is waited for")
		}
	})
}
