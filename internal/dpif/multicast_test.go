package dpif

import (
	"errors"
	"testing"

	"dpifd/internal/genl"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

// noticeFamilies are families with arbitrary ids.
var noticeFamilies = Families{
	Datapath: genl.Family{Name: familyDatapath, ID: 0x1a, Groups: map[string]uint32{familyDatapath: 7}},
	Vport:    genl.Family{Name: familyVport, ID: 0x1b, Groups: map[string]uint32{familyVport: 8}},
	Flow:     genl.Family{Name: familyFlow, ID: 0x1c, Groups: map[string]uint32{familyFlow: 9}},
	Packet:   genl.Family{Name: familyPacket, ID: 0x1d},
}

// noticeMessages are one message of each family, in the order of the ids.
func noticeMessages() [][]byte {
	return [][]byte{
		upcallMessage(0x1a, cmdSet, 5, func(e *netlink.Encoder) {
			e.String(dpAttrName, "dp0")
			e.Uint32(dpAttrUserFeatures, 3)
		}),
		upcallMessage(0x1b, cmdDel, 5, func(e *netlink.Encoder) {
			e.Uint32(vportAttrPortNo, 2)
			e.Uint32(vportAttrType, uint32(VportNetdev))
			e.String(vportAttrName, "va")
			e.Uint32(vportAttrUpcallPID, 99)
		}),
		upcallMessage(0x1c, cmdNew, 5, func(e *netlink.Encoder) {
			e.Nested(flowAttrKey, func(e *netlink.Encoder) { odp.AppendInPort(e, 3) })
			e.Nested(flowAttrActions, func(e *netlink.Encoder) { odp.AppendOutput(e, 4) })
		}),
	}
}

func TestParseNotice(t *testing.T) {
	var got []Notice
	for _, msg := range noticeMessages() {
		h, payload, _, err := netlink.SplitMessage(msg)
		if err != nil {
			t.Fatal(err)
		}
		n, ok, err := noticeFamilies.ParseNotice(h, payload)
		if !ok || err != nil || n.Index != 5 {
			t.Fatalf("notice %+v, %v, %v", n, ok, err)
		}
		got = append(got, n)
		if _, ok, err := noticeFamilies.ParseNotice(h, payload[:len(payload)-4]); ok ||
			!errors.Is(err, netlink.ErrMalformed) {
			t.Errorf("cut message: %v, %v", ok, err)
		}
	}
	want := []Notice{
		{Op: Changed, Index: 5, Datapath: &DatapathInfo{Index: 5, Name: "dp0", Features: 3}},
		{Op: Deleted, Index: 5, Vport: &Vport{Name: "va", No: 2, Type: VportNetdev, UpcallPIDs: []uint32{99}}},
		{Op: New, Index: 5, Flow: &Flow{Key: []byte{8, 0, 3, 0, 3, 0, 0, 0}, Actions: []byte{8, 0, 1, 0, 4, 0, 0, 0}}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("notices (-want +got):\n%s", diff)
	}
	// Messages that are not notifications of these families.
	for _, msg := range [][]byte{upcallMessage(0x1d, cmdNew, 5, func(*netlink.Encoder) {}),
		upcallMessage(0x1a, cmdGet, 5, func(*netlink.Encoder) {})} {
		h, payload, _, _ := netlink.SplitMessage(msg)
		if n, ok, err := noticeFamilies.ParseNotice(h, payload); ok || err != nil {
			t.Errorf("notice %+v, %v, %v", n, ok, err)
		}
	}
}

func FuzzParseNotice(f *testing.F) {
	for _, msg := range noticeMessages() {
		f.Add(msg[4], msg[16:])
	}
	f.Fuzz(func(t *testing.T, family byte, payload []byte) {
		n, ok, err := noticeFamilies.ParseNotice(netlink.Header{Type: uint16(family)}, payload)
		if err != nil && (ok || !errors.Is(err, netlink.ErrMalformed)) {
			t.Fatalf("%v, %v", ok, err)
		}
		if ok && (n.Op == 0 || n.Datapath == nil && n.Vport == nil && n.Flow == nil) {
			t.Errorf("notice %+v", n)
		}
	})
}
