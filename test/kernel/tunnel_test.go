//go:build lab

package kernel_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// sites are the addresses of both ends of the underlay network.
var sites = [2]struct{ ip4, ip6 string }{{"192.0.2.1", "2001:db8::1"}, {"192.0.2.2", "2001:db8::2"}}

// connect joins two namespaces by an underlay network for the outer packets.
func connect(t *testing.T, a, b *lab.NetNS) {
	t.Helper()
	var ends []lab.End
	for i, ns := range []*lab.NetNS{a, b} {
		setIPv6(t, ns, true)
		ends = append(ends, lab.End{NS: ns, Name: "under", Addrs: []string{sites[i].ip4 + "/24", sites[i].ip6 + "/64"}})
	}
	lab.Veth(t, ends[0], ends[1])
	for _, ns := range []*lab.NetNS{a, b} {
		noIPv6(t, ns)
	}
}

// overlay gives a host's device address number i of the overlay network, and an MTU that leaves
// room for the outer headers.
func overlay(t *testing.T, ns *lab.NetNS, device string, i int) (ip4, ip6 string) {
	t.Helper()
	ip4, ip6 = fmt.Sprintf("172.31.9.%d", i), fmt.Sprintf("fd00:31::%d", i)
	ns.Run(t, "/usr/sbin/ip", "link", "set", "dev", device, "mtu", "1400", "up")
	ns.Run(t, "/usr/sbin/ip", "addr", "add", ip4+"/24", "dev", device)
	ns.Run(t, "/usr/sbin/ip", "addr", "add", ip6+"/64", "dev", device, "nodad")
	return ip4, ip6
}

// talk exchanges pings of several sizes and TCP streams between two hosts.
func talk(t *testing.T, a, b *lab.NetNS, a4, b4, b6 string) {
	t.Helper()
	ping(t, a, b4, 3, 56)
	ping(t, b, a4, 3, 1372)
	ping(t, a, b6, 3, 1352)
	stream(t, a, b, b4, 1<<20+77)
	stream(t, b, a, a4, 1<<19)
	stream(t, a, b, b6, 1<<19+1)
}

// needTunnel skips the test on a kernel without the device for tunnels of a type.
func needTunnel(t *testing.T, typ string, ip6 bool) {
	t.Helper()
	device := []string{typ, "external"}
	switch {
	case typ == "gre" && ip6:
		device[0] = "ip6gretap"
	case typ == "gre":
		device[0] = "gretap"
	case ip6:
		device = append(device, "udp6zerocsumrx")
	}
	if !hasDevice(t, device...) {
		t.Skipf("kernel lacks a device for %s, over IPv6: %v", typ, ip6)
	}
}

// settled fails the test if the kernel refused anything.
func settled(t *testing.T, d *lab.Daemon) {
	t.Helper()
	last := d.Wait(t, time.Now(), "stats", nil)
	for _, field := range []string{"flows_refused", "sweeps_refused", "execute_refused", "decode_errors"} {
		if n := last.Int(t, field); n != 0 {
			t.Errorf("%s is %d", field, n)
		}
	}
}

// TestTunnelsBetweenDatapaths connects two datapaths, each with its own daemon, by tunnels.
func TestTunnelsBetweenDatapaths(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, typ, settings string
		ip6                 bool
	}{
		{"vxlan", "vxlan", "key: 42", false},
		{"vxlan of another port over IPv6", "vxlan", "key: 16777215, dst_port: 8472", true},
		{"geneve", "geneve", "key: 7, tos: inherit", false},
		{"geneve over IPv6", "geneve", "", true},
		{"gre", "gre", "", false},
		{"gre with a key over IPv6", "gre", "key: 4294967295, tos: inherit", true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needTunnel(t, tt.typ, tt.ip6)
			nets := [2]*network{newQuietNetwork(t, 1), newQuietNetwork(t, 1)}
			connect(t, nets[0].sw, nets[1].sw)
			var daemons [2]*lab.Daemon
			var ip4, ip6 [2]string
			for i, n := range nets {
				h := n.hosts[0]
				setIPv6(t, h.NetNS, true)
				h.Run(t, "/usr/sbin/ip", "link", "set", "dev", "eth0", "down")
				h.Run(t, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
				ip4[i], ip6[i] = overlay(t, h.NetNS, "eth0", 11+i)
				remote, local := sites[1-i].ip4, sites[i].ip4
				if tt.ip6 {
					remote, local = sites[1-i].ip6, sites[i].ip6
				}
				s := fmt.Sprintf("remote: '%s', local: '%s'", remote, local)
				if tt.settings != "" {
					s += ", " + tt.settings
				}
				daemons[i] = n.run(t, settings{"ports": list("{name: "+h.port+"}", tunnel("tun0", tt.typ, s))})
			}
			a, b := nets[0].hosts[0].NetNS, nets[1].hosts[0].NetNS
			talk(t, a, b, ip4[0], ip4[1], ip6[1])
			for i, d := range daemons {
				settled(t, d)
				if lost := nets[i].view(t).info(t).Stats.Lost; lost != 0 {
					t.Errorf("the kernel lost %d upcalls", lost)
				}
				stop(t, d)
			}
		})
	}
}

// TestTunnelAgainstKernel uses the kernel's own tunnel devices at the other end, and checks the
// outer packets.
func TestTunnelAgainstKernel(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, typ, settings string
		peer                string // arguments of ip link add
		ip6                 bool
		ttl, tos            byte // of the outer packets
		innerTOS            string
	}{
		{"vxlan", "vxlan", "key: 42, ttl: 3", "vxlan id 42 remote REMOTE local LOCAL dstport 4789", false, 3, 0, "0x20"},
		{"vxlan that inherits the TOS", "vxlan", "key: 1, tos: inherit", "vxlan id 1 remote REMOTE local LOCAL dstport 4789", false, 64, 0x48, "0x48"},
		{"vxlan over IPv6", "vxlan", "key: 99, tos: 184", "vxlan id 99 remote REMOTE local LOCAL dstport 4789", true, 64, 184, "0x20"},
		{"geneve", "geneve", "key: 77, csum: true, tos: 32", "geneve id 77 remote REMOTE", false, 64, 32, "0"},
		{"geneve over IPv6", "geneve", "key: 0, tos: inherit", "geneve id 0 remote REMOTE", true, 64, 0x28, "0x28"},
		{"gre", "gre", "ttl: 255", "gretap remote REMOTE local LOCAL", false, 255, 0, "0x20"},
		{"gre with key and checksum", "gre", "key: 3000000000, csum: true", "gretap remote REMOTE local LOCAL key 3000000000 icsum", false, 64, 0, "0"},
		{"gre over IPv6", "gre", "key: 5, tos: inherit", "ip6gretap remote REMOTE local LOCAL key 5", true, 64, 0x60, "0x60"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			needTunnel(t, tt.typ, tt.ip6)
			n := newQuietNetwork(t, 1)
			h, peer := n.hosts[0], lab.NewNetNS(t, "peer")
			connect(t, n.sw, peer)
			remote, local := sites[1].ip4, sites[0].ip4
			if tt.ip6 {
				remote, local = sites[1].ip6, sites[0].ip6
			}
			setIPv6(t, peer, true)
			peer.Run(t, "/usr/sbin/ip", append([]string{"link", "add", "tun", "type"},
				strings.Fields(strings.NewReplacer("REMOTE", local, "LOCAL", remote).Replace(tt.peer))...)...)
			b4, b6 := overlay(t, peer, "tun", 12)
			h.Run(t, "sh", "-c", "echo 0 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6")
			a4, _ := overlay(t, h.NetNS, "eth0", 11)
			d := n.run(t, settings{"ports": list("{name: "+h.port+"}",
				tunnel("tun0", tt.typ, fmt.Sprintf("remote: '%s', %s", remote, tt.settings)))})

			eye := peer.OpenPacket(t, "under")
			out, err := h.Try("ping", "-n", "-q", "-c", "2", "-i", "0.1", "-W", "5", "-Q", tt.innerTOS, "-s", "333", b4)
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			eye.Expect(t, waitLimit, func(f []byte) bool { return outer(f, tt.ip6, 333, tt.ttl, tt.tos) })
			talk(t, h.NetNS, peer, a4, b4, b6)
			settled(t, d)
			stop(t, d)
		})
	}
}

// outer reports whether a frame is an encapsulated ICMP echo request with size bytes and with the
// given outer TTL, type of service and the DF bit set.
func outer(f []byte, ip6 bool, size int, ttl, tos byte) bool {
	// The inner and the outer frame end at the same byte, so the inner headers are found from the
	// end.
	if len(f) < 14+20+14+20+8+size {
		return false
	}
	inner := f[len(f)-size-8-20:]
	if inner[0] != 0x45 || inner[9] != unix.IPPROTO_ICMP || inner[20] != 8 {
		return false
	}
	ip := f[14:]
	if ip6 {
		word := binary.BigEndian.Uint32(ip)
		return binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IPV6 && byte(word>>20) == tos && ip[7] == ttl
	}
	return binary.BigEndian.Uint16(f[12:]) == unix.ETH_P_IP && ip[1] == tos && ip[8] == ttl && ip[6]&0x40 != 0
}
