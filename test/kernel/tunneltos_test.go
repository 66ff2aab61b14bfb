//go:build lab

package kernel_test

import (
	"testing"

	"dpifd/internal/lab"
)

// TestTunnelTakesOverTOS: the TOS is found behind VLAN tags, the kernel accepts the masks that read
// it, and inner packets arrive unchanged.
func TestTunnelTakesOverTOS(t *testing.T) {
	t.Parallel()
	needTunnel(t, "vxlan", false)
	n := newQuietNetwork(t, 1)
	h, peer := n.hosts[0], lab.NewNetNS(t, "peer")
	connect(t, n.sw, peer)
	peer.Run(t, "/usr/sbin/ip", "link", "add", "tun", "up", "type", "vxlan", "id", "8", "remote", sites[0].ip4,
		"dstport", "4789")
	d := n.run(t, settings{"flows": "{max_idle: 60s}",
		"ports": list("{name: "+h.port+"}", tunnel("tun0", "vxlan", "remote: 192.0.2.2, key: 8, tos: inherit"))})
	host, inner, outer := h.OpenPacket(t, "eth0"), peer.OpenPacket(t, "tun"), peer.OpenPacket(t, "under")
	ip4 := func(tos byte) []byte {
		b := []byte{0x45, tos, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 1, 1, 1, 10, 1, 1, 2, 0, 9, 0, 9, 0, 8, 0, 0}
		var sum uint32
		for i := 0; i < 20; i += 2 {
			sum += uint32(b[i])<<8 | uint32(b[i+1])
		}
		for sum > 0xffff {
			sum = sum>>16 + sum&0xffff
		}
		b[10], b[11] = byte(^sum>>8), byte(^sum)
		return b
	}
	ip6 := func(class byte) []byte {
		b := make([]byte, 48)
		b[0], b[1], b[5], b[6], b[7] = 0x60|class>>4, class<<4, 8, 17, 64
		b[8], b[24], b[23], b[39], b[45] = 0xfd, 0xfd, 1, 2, 8
		return b
	}
	tag := func(tci, typ uint16, payload []byte) []byte {
		return append([]byte{byte(tci >> 8), byte(tci), byte(typ >> 8), byte(typ)}, payload...)
	}
	for _, tt := range []struct {
		name    string
		typ     uint16
		payload []byte
		tos     byte
	}{
		{"IPv4", 0x0800, ip4(0xb8), 0xb8},
		{"IPv4 without", 0x0800, ip4(0), 0},
		{"IPv6", 0x86dd, ip6(0x28), 0x28},
		{"tagged IPv4", 0x8100, tag(100, 0x0800, ip4(0x48)), 0x48},
		{"tagged IPv6", 0x8100, tag(0xa064, 0x86dd, ip6(0x60)), 0x60},
		{"two tags", 0x88a8, tag(7, 0x8100, tag(42, 0x0800, ip4(0x20))), 0x20},
		{"no IP", 0x88b5, []byte{1, 2, 3}, 0},
		{"tagged no IP", 0x8100, tag(9, 0x88b5, []byte{4, 5, 6}), 0},
		{"802.2", 0x0026, append([]byte{0x42, 0x42, 0x03}, make([]byte, 43)...), 0},
	} {
		for round := range 3 { // by the daemon, then by the flow
			f := lab.Frame(t, "02:55:00:00:00:02", "02:55:00:00:00:01", tt.typ, tt.payload)
			send(t, host, f)
			inner.Expect(t, waitLimit, among(f))
			got := outer.Expect(t, waitLimit, func(o []byte) bool {
				return len(o) > 50 && string(o[len(o)-len(f):]) == string(f)
			})
			if got[15] != tt.tos {
				t.Errorf("%s, round %d: TOS %#x outside, want %#x", tt.name, round, got[15], tt.tos)
			}
		}
	}
	settled(t, d)
	v := n.view(t)
	if got := v.info(t).Stats.Flows; got < 9 {
		t.Errorf("%d flows, want one for each kind of frame", got)
	}
	stop(t, d)
}
