package device

import (
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	mdlayher "github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"dpifd/internal/netlink"
)

// message returns an RTM_NEWLINK as the kernel would write it, encoded by another library.
func message(t testing.TB, name, alias, kind string, data func(*mdlayher.AttributeEncoder)) []byte {
	t.Helper()
	ae := mdlayher.NewAttributeEncoder()
	ae.String(unix.IFLA_IFNAME, name)
	ae.Uint32(unix.IFLA_MTU, 65000)
	ae.String(unix.IFLA_IFALIAS, alias)
	ae.Nested(unix.IFLA_LINKINFO, func(ae *mdlayher.AttributeEncoder) error {
		ae.String(unix.IFLA_INFO_KIND, kind)
		ae.Nested(unix.IFLA_INFO_DATA, func(ae *mdlayher.AttributeEncoder) error {
			data(ae)
			return nil
		})
		return nil
	})
	attrs, err := ae.Encode()
	if err != nil {
		t.Fatal(err)
	}
	head := make([]byte, ifinfomsgLen)
	binary.NativeEndian.PutUint32(head[4:], 17)
	binary.NativeEndian.PutUint32(head[8:], unix.IFF_UP)
	return append(head, attrs...)
}

func vxlan(learning, metadata, zeroCsum6 uint8, port uint16, gbp bool) func(*mdlayher.AttributeEncoder) {
	return func(ae *mdlayher.AttributeEncoder) {
		ae.Uint32(unix.IFLA_VXLAN_ID, 0)
		ae.Uint8(unix.IFLA_VXLAN_LEARNING, learning)
		ae.Uint8(unix.IFLA_VXLAN_COLLECT_METADATA, metadata)
		ae.Uint8(unix.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, zeroCsum6)
		ae.Bytes(unix.IFLA_VXLAN_PORT, binary.BigEndian.AppendUint16(nil, port))
		if gbp {
			ae.Flag(unix.IFLA_VXLAN_GBP, true)
		}
	}
}

func geneve(metadata bool, zeroCsum6 uint8, port uint16) func(*mdlayher.AttributeEncoder) {
	return func(ae *mdlayher.AttributeEncoder) {
		ae.Flag(unix.IFLA_GENEVE_COLLECT_METADATA, metadata)
		ae.Uint8(unix.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, zeroCsum6)
		ae.Bytes(unix.IFLA_GENEVE_PORT, binary.BigEndian.AppendUint16(nil, port))
	}
}

func gre(metadata bool) func(*mdlayher.AttributeEncoder) {
	return func(ae *mdlayher.AttributeEncoder) {
		ae.Uint32(4, 0) // IFLA_GRE_IKEY
		ae.Flag(greCollectMetadata, metadata)
	}
}

func TestParseLink(t *testing.T) {
	l, err := ParseLink(message(t, "vxlan_sys_4789", "dpifd: dp0", "vxlan", vxlan(0, 1, 1, 4789, false)))
	if err != nil {
		t.Fatal(err)
	}
	want := l
	want.Index, want.Name, want.Alias, want.Kind, want.MTU = 17, "vxlan_sys_4789", "dpifd: dp0", "vxlan", 65000
	if diff := cmp.Diff(want, l, cmpopts.IgnoreUnexported(Link{})); diff != "" || !l.Up() {
		t.Errorf("up: %v, link (-want +got):\n%s", l.Up(), diff)
	}
	if _, err := ParseLink(make([]byte, ifinfomsgLen-1)); !errors.Is(err, netlink.ErrMalformed) {
		t.Errorf("short message: %v", err)
	}
}

// TestDifferences: a device is used only if all relevant attributes match.
func TestDifferences(t *testing.T) {
	vx, gnv := Tunnel{VXLAN, 4789}, Tunnel{Geneve, 6081}
	for _, tt := range []struct {
		name   string
		tunnel Tunnel
		kind   string
		data   func(*mdlayher.AttributeEncoder)
		want   []string // parts of the error; none if the device matches
	}{
		{"vxlan", vx, "vxlan", vxlan(0, 1, 1, 4789, false), nil},
		{"vxlan that learns", vx, "vxlan", vxlan(1, 1, 1, 4789, false), []string{"learns"}},
		{"vxlan with a peer", vx, "vxlan", vxlan(0, 0, 1, 4789, false), []string{"not external"}},
		{"vxlan with checks", vx, "vxlan", vxlan(0, 1, 0, 4789, false), []string{"noudp6zerocsumrx"}},
		{"vxlan of another port", vx, "vxlan", vxlan(0, 1, 1, 8472, false), []string{"its port is 8472, not 4789"}},
		{"vxlan with GBP", vx, "vxlan", vxlan(0, 1, 1, 4789, true), []string{"GBP"}},
		{"all at once", vx, "vxlan", vxlan(1, 0, 0, 1, true), []string{"learns", "not external", "noudp6zerocsumrx", "its port is 1", "GBP"}},
		{"bridge", vx, "bridge", gre(true), []string{"it is bridge, not vxlan"}},
		{"hardware", gnv, "", gre(true), []string{"it is no virtual device, not geneve"}},
		{"geneve", gnv, "geneve", geneve(true, 1, 6081), nil},
		{"geneve with a peer", gnv, "geneve", geneve(false, 1, 6081), []string{"not external"}},
		{"geneve with checks of another port", gnv, "geneve", geneve(true, 0, 6082), []string{"noudp6zerocsumrx", "its port is 6082, not 6081"}},
		{"gre", Tunnel{Kind: GRE}, "gretap", gre(true), nil},
		{"gre with a peer", Tunnel{Kind: GRE}, "gretap", gre(false), []string{"not external"}},
		{"gre over IPv6", Tunnel{Kind: GRE6}, "ip6gretap", gre(true), nil},
		{"gre of the other kind", Tunnel{Kind: GRE6}, "gretap", gre(true), []string{"it is gretap, not ip6gretap"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l, err := ParseLink(message(t, tt.tunnel.Name(), "", tt.kind, tt.data))
			if err != nil {
				t.Fatal(err)
			}
			err = tt.tunnel.differences(l)
			if (err == nil) != (tt.want == nil) || (err != nil && !errors.Is(err, ErrDiffers)) {
				t.Fatalf("error %v, want one of %q", err, tt.want)
			}
			for _, part := range tt.want {
				if !strings.Contains(err.Error(), part) || !strings.Contains(err.Error(), tt.tunnel.Name()) {
					t.Errorf("error %q lacks %q or the device's name", err, part)
				}
			}
		})
	}
}

// TestOwnDevice: what is requested from the kernel satisfies the check of a device.
func TestOwnDevice(t *testing.T) {
	for _, tun := range []Tunnel{{VXLAN, 4789}, {VXLAN, 65535}, {Geneve, 6081}, {Kind: GRE}, {Kind: GRE6}} {
		var e netlink.Encoder
		tun.appendData(&e)
		if err := tun.differences(Link{Name: tun.Name(), Kind: string(tun.Kind), data: e.Bytes()}); err != nil {
			t.Error(err)
		}
	}
}

func FuzzParseLink(f *testing.F) {
	f.Add(message(f, "vxlan_sys_4789", "dpifd: dp0", "vxlan", vxlan(0, 1, 1, 4789, true)))
	f.Add(message(f, "genev_sys_6081", "", "geneve", geneve(true, 1, 6081)))
	f.Add(message(f, "ip6gre_sys", "x", "ip6gretap", gre(true)))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		l, err := ParseLink(b)
		if err != nil {
			if !errors.Is(err, netlink.ErrMalformed) {
				t.Errorf("error %v", err)
			}
			return
		}
		for _, tun := range []Tunnel{{VXLAN, 4789}, {Geneve, 6081}, {Kind: GRE}} {
			if err := tun.differences(l); err == nil && l.Kind != string(tun.Kind) {
				t.Errorf("%v takes %+v", tun, l)
			}
		}
	})
}
