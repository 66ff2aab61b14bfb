package dpif

import (
	"testing"

	"dpifd/internal/netlink"

	"github.com/google/go-cmp/cmp"
)

// vportMessage builds the attributes of a vport as Linux 6.12 sends them, plus those that add
// encodes.
func vportMessage(add func(*netlink.Encoder)) []byte {
	var e netlink.Encoder
	e.Uint32(vportAttrPortNo, 4)
	e.Uint32(vportAttrType, uint32(VportNetdev))
	e.String(vportAttrName, "va")
	e.Attr(vportAttrStats, make([]byte, 64))
	add(&e)
	e.Attr(vportAttrUpcallPID, []byte{1, 2, 0, 0})
	return e.Bytes()
}

func TestParseVportUpcallStats(t *testing.T) {
	for _, tt := range []struct {
		name string
		add  func(*netlink.Encoder)
		want UpcallStats
	}{
		{"a kernel that has none", func(*netlink.Encoder) {}, UpcallStats{}},
		{"both", func(e *netlink.Encoder) {
			e.Nested(vportAttrUpcallStats, func(e *netlink.Encoder) {
				e.Uint64(vportUpcallAttrSuccess, 1<<40+3)
				e.Attr(7, nil) // OVS_VPORT_ATTR_PAD, as nla_put_u64_64bit adds it
				e.Uint64(vportUpcallAttrFail, 12)
			})
		}, UpcallStats{true, 1<<40 + 3, 12}},
		{"one more, of a later kernel", func(e *netlink.Encoder) {
			e.Nested(vportAttrUpcallStats, func(e *netlink.Encoder) {
				e.Uint64(vportUpcallAttrSuccess, 5)
				e.Uint64(vportUpcallAttrFail, 6)
				e.Uint64(2, 7)
			})
		}, UpcallStats{true, 5, 6}},
		{"short", func(e *netlink.Encoder) {
			e.Nested(vportAttrUpcallStats, func(e *netlink.Encoder) { e.Uint32(vportUpcallAttrFail, 6) })
		}, UpcallStats{Known: true}},
		{"not attributes", func(e *netlink.Encoder) { e.Attr(vportAttrUpcallStats, []byte{200, 0, 1, 0, 1}) }, UpcallStats{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			v, err := parseVport(reply{attrs: vportMessage(tt.add)})
			if err != nil || v.Name != "va" || v.No != 4 || len(v.UpcallPIDs) != 1 {
				t.Fatalf("%+v, %v", v, err)
			}
			if d := cmp.Diff(tt.want, v.Upcalls); d != "" {
				t.Errorf("upcall statistics -want +got:\n%s", d)
			}
		})
	}
}
