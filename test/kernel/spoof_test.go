//go:build lab

package kernel_test

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// The functions here build packets byte by byte, so that they can be malformed like an attacker's.
// Checksums are not verified on the way.

func address(s string) []byte { return netip.MustParseAddr(s).AsSlice() }

func macBytes(s string) []byte {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

// ipv4Packet returns a packet with the given fragment field: 0x2000 is "more fragments", the lower
// bits are the offset in units of 8 bytes.
func ipv4Packet(src, dst string, proto byte, fragment uint16, payload []byte) []byte {
	b := []byte{0x45, 0, 0, 0, 0, 1, byte(fragment >> 8), byte(fragment), 64, proto, 0, 0}
	b = slices.Concat(b, address(src), address(dst), payload)
	binary.BigEndian.PutUint16(b[2:], uint16(len(b)))
	return b
}

func ipv6Packet(src, dst string, next byte, payload ...[]byte) []byte {
	body := slices.Concat(payload...)
	b := []byte{0x60, 0, 0, 0, byte(len(body) >> 8), byte(len(body)), next, 255}
	return slices.Concat(b, address(src), address(dst), body)
}

// padHeader is a hop-by-hop or destination options header with padding only.
func padHeader(next byte) []byte { return []byte{next, 0, 1, 4, 0, 0, 0, 0} }

// fragmentHeader is the header of a fragment at offset, in units of 8 bytes, with more to come.
func fragmentHeader(next byte, offset uint16) []byte {
	return []byte{next, 0, byte(offset >> 5), byte(offset<<3) | 1, 0, 0, 0, 7}
}

func udpPacket(src, dst uint16) []byte {
	b := binary.BigEndian.AppendUint16(nil, src)
	b = binary.BigEndian.AppendUint16(b, dst)
	return append(b, 0, 16, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8)
}

func arpPacket(op byte, sha, sip, tip string) []byte {
	return slices.Concat([]byte{0, 1, 8, 0, 6, 4, 0, op}, macBytes(sha), address(sip), make([]byte, 6), address(tip))
}

// discovery is a neighbour solicitation or advertisement with a link-layer address option.
func discovery(typ byte, target, mac string) []byte {
	return slices.Concat([]byte{typ, 0, 0, 0, 0, 0, 0, 0}, address(target), []byte{typ - 134, 1}, macBytes(mac))
}

const (
	nextHop, nextUDP, nextFragment, nextICMPv6, nextDest = 0, 17, 44, 58, 60
	moreFragments                                        = 0x2000
)

// TestSpoofing: packets that a port may not send are dropped and counted in every encapsulation;
// all packets that it may send arrive.
func TestSpoofing(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	guest, other := n.hosts[0], n.hosts[1]
	d := n.run(t, settings{"ports": list(
		fmt.Sprintf("{name: %s, allow: {macs: [%q], addresses: [192.0.2.10, '2001:db8::10', 'fe80::10']}, "+
			"dhcp_server: false, router_advertisements: false}", guest.port, guest.mac),
		"{name: "+other.port+"}", "{name: "+n.hosts[2].port+"}",
	)})
	p := n.sockets(t)
	const any4, any6, foreign = "255.255.255.255", "ff02::1", "02:00:5e:00:66:66"
	ipv4 := func(src string, proto byte, fragment uint16, payload []byte) []byte {
		return lab.Frame(t, broadcast, guest.mac, unix.ETH_P_IP, ipv4Packet(src, any4, proto, fragment, payload))
	}
	ipv6 := func(src string, next byte, payload ...[]byte) []byte {
		return lab.Frame(t, "33:33:00:00:00:01", guest.mac, unix.ETH_P_IPV6, ipv6Packet(src, any6, next, payload...))
	}
	arp := func(op byte, sha, sip, tip string) []byte {
		return lab.Frame(t, broadcast, guest.mac, unix.ETH_P_ARP, arpPacket(op, sha, sip, tip))
	}
	// tagged adds tags: the outer one with the given VLAN, the others with VLAN 0.
	tagged := func(vlan byte, f []byte, tags ...uint16) []byte {
		var b []byte
		for _, tpid := range tags {
			b = append(b, byte(tpid>>8), byte(tpid), 0, vlan)
			vlan = 0
		}
		return slices.Concat(f[:12], b, f[12:])
	}
	advert := []byte{134, 0, 0, 0, 64, 0, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0}
	spoofed4 := ipv4("192.0.2.66", unix.IPPROTO_UDP, 0, udpPacket(1000, 2000))

	allowed := map[string][]byte{
		"another protocol":       frame(t, broadcast, guest.mac),
		"IPv4":                   ipv4("192.0.2.10", unix.IPPROTO_UDP, 0, udpPacket(1000, 2000)),
		"IPv4 first fragment":    ipv4("192.0.2.10", unix.IPPROTO_UDP, moreFragments, udpPacket(1000, 2000)),
		"IPv4 later fragment":    ipv4("192.0.2.10", unix.IPPROTO_UDP, 2, udpPacket(67, 68)),
		"IPv4 behind a tag":      tagged(5, ipv4("192.0.2.10", unix.IPPROTO_UDP, 0, udpPacket(1, 2)), unix.ETH_P_8021Q),
		"IPv4 behind two tags":   tagged(5, ipv4("192.0.2.10", unix.IPPROTO_UDP, 0, udpPacket(1, 2)), unix.ETH_P_8021AD, unix.ETH_P_8021Q),
		"DHCP request":           ipv4("0.0.0.0", unix.IPPROTO_UDP, 0, udpPacket(68, 67)),
		"IGMP report":            ipv4("0.0.0.0", unix.IPPROTO_IGMP, 0, []byte{0x16, 0, 0, 0, 239, 1, 2, 3}),
		"ARP":                    arp(1, guest.mac, "192.0.2.10", "192.0.2.1"),
		"ARP probe":              arp(1, guest.mac, "0.0.0.0", "192.0.2.10"),
		"IPv6":                   ipv6("2001:db8::10", nextUDP, udpPacket(1, 2)),
		"IPv6 with options":      ipv6("2001:db8::10", nextHop, padHeader(nextDest), padHeader(nextUDP), udpPacket(1, 2)),
		"IPv6 later fragment":    ipv6("2001:db8::10", nextFragment, fragmentHeader(nextICMPv6, 2), advert),
		"neighbor solicitation":  ipv6("fe80::10", nextICMPv6, discovery(135, "2001:db8::1", guest.mac)),
		"neighbor advertisement": ipv6("fe80::10", nextICMPv6, discovery(136, "2001:db8::10", guest.mac)),
		"address detection":      ipv6("::", nextICMPv6, []byte{135, 0, 0, 0, 0, 0, 0, 0}, address("2001:db8::10")),
		"router solicitation":    ipv6("::", nextICMPv6, []byte{133, 0, 0, 0, 0, 0, 0, 0}),
	}
	if !lab.Has(t, "second VLAN tags", hasTwoTags) {
		delete(allowed, "IPv4 behind two tags") // refused: the headers after two tags are not parsed
	}
	refused := map[string][]byte{
		"MAC":                              frame(t, broadcast, foreign),
		"IPv4 source":                      spoofed4,
		"IPv4 first fragment":              ipv4("192.0.2.66", unix.IPPROTO_UDP, moreFragments, udpPacket(1000, 2000)),
		"IPv4 later fragment":              ipv4("192.0.2.66", unix.IPPROTO_UDP, 2, udpPacket(1000, 2000)),
		"IPv4 behind a tag":                tagged(5, spoofed4, unix.ETH_P_8021Q),
		"IPv4 behind two tags":             tagged(5, spoofed4, unix.ETH_P_8021AD, unix.ETH_P_8021Q),
		"IPv4 behind three tags":           tagged(5, spoofed4, unix.ETH_P_8021AD, unix.ETH_P_8021Q, unix.ETH_P_8021Q),
		"IPv4 in LLC and SNAP":             lab.Frame(t, broadcast, guest.mac, 60, slices.Concat([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0}, spoofed4[14:])),
		"no IPv4 source":                   ipv4("0.0.0.0", unix.IPPROTO_UDP, 0, udpPacket(68, 53)),
		"DHCP offer":                       ipv4("192.0.2.10", unix.IPPROTO_UDP, 0, udpPacket(67, 68)),
		"DHCP offer, first fragment":       ipv4("192.0.2.10", unix.IPPROTO_UDP, moreFragments, udpPacket(67, 68)),
		"ARP sender":                       arp(2, guest.mac, "192.0.2.1", "192.0.2.66"),
		"ARP sender MAC":                   arp(2, foreign, "192.0.2.10", "192.0.2.66"),
		"ARP probe of another":             arp(1, guest.mac, "0.0.0.0", "192.0.2.1"),
		"IPv6 source":                      ipv6("2001:db8::66", nextUDP, udpPacket(1, 2)),
		"IPv6 source with options":         ipv6("2001:db8::66", nextHop, padHeader(nextUDP), udpPacket(1, 2)),
		"IPv6 source, later fragment":      ipv6("2001:db8::66", nextFragment, fragmentHeader(nextUDP, 2), udpPacket(1, 2)),
		"DHCPv6 reply":                     ipv6("fe80::10", nextUDP, udpPacket(547, 546)),
		"DHCPv6 reply with options":        ipv6("fe80::10", nextDest, padHeader(nextUDP), udpPacket(547, 546)),
		"router advertisement":             ipv6("fe80::10", nextICMPv6, advert),
		"advertisement behind options":     ipv6("fe80::10", nextHop, padHeader(nextDest), padHeader(nextICMPv6), advert),
		"advertisement in fragments":       ipv6("fe80::10", nextFragment, fragmentHeader(nextICMPv6, 0), advert),
		"advertisement behind both":        ipv6("fe80::10", nextFragment, fragmentHeader(nextDest, 0), padHeader(nextICMPv6), advert),
		"headers missing in a fragment":    ipv6("fe80::10", nextFragment, fragmentHeader(nextDest, 0)),
		"headers cut by fragmentation":     ipv6("fe80::10", nextFragment, fragmentHeader(nextDest, 0), []byte{nextICMPv6, 3, 1, 4, 0, 0, 0, 0}),
		"advertisement in tags of VLAN 0":  tagged(0, ipv6("fe80::10", nextICMPv6, advert), unix.ETH_P_8021Q, unix.ETH_P_8021Q),
		"redirect":                         ipv6("fe80::10", nextICMPv6, []byte{137, 0, 0, 0, 0, 0, 0, 0}, address("fe80::1"), address("2001:db8::1")),
		"neighbor advertisement":           ipv6("fe80::10", nextICMPv6, discovery(136, "2001:db8::1", guest.mac)),
		"neighbor advertisement, MAC":      ipv6("fe80::10", nextICMPv6, discovery(136, "2001:db8::10", foreign)),
		"neighbor solicitation, MAC":       ipv6("fe80::10", nextICMPv6, discovery(135, "2001:db8::1", foreign)),
		"neighbor advertisement in pieces": ipv6("fe80::10", nextFragment, fragmentHeader(nextICMPv6, 0), discovery(136, "2001:db8::10", guest.mac)),
		"address detection of another":     ipv6("::", nextICMPv6, []byte{135, 0, 0, 0, 0, 0, 0, 0}, address("2001:db8::1")),
	}
	// Each packet first causes an upcall, then matches its flow.
	const copies = 3
	sent := 0
	for range copies {
		for name, f := range allowed {
			t.Log("sending", name)
			send(t, p[0], f)
			p[1].Expect(t, waitLimit, among(f))
		}
		for _, f := range refused {
			send(t, p[0], f)
			sent++
		}
		last := frame(t, broadcast, guest.mac)
		send(t, p[0], last)
		arrived := map[string]bool{}
		p[1].Expect(t, waitLimit, func(f []byte) bool { arrived[string(f)] = true; return string(f) == string(last) })
		for name, f := range refused {
			// A tag of VLAN 0 is removed on the way.
			if arrived[string(f)] || arrived[string(slices.Concat(f[:12], f[16:]))] {
				t.Errorf("%s arrived", name)
			}
		}
	}
	// Other ports are not restricted.
	for _, f := range [][]byte{
		lab.Frame(t, broadcast, other.mac, unix.ETH_P_IPV6, ipv6Packet("fe80::66", any6, nextICMPv6, advert)),
		lab.Frame(t, broadcast, other.mac, unix.ETH_P_IP, ipv4Packet("192.0.2.1", any4, unix.IPPROTO_UDP, 0,
			udpPacket(67, 68))),
	} {
		send(t, p[1], f)
		p[0].Expect(t, waitLimit, among(f))
	}

	v := n.view(t)
	no := v.portNo(t, guest.port)
	inKernel := uint64(0)
	err := v.Flows(false, func() { inKernel = 0 }, func(f *dpif.Flow) error {
		in, err := odp.InPort(f.Key)
		switch spoofed := f.UFID.Spoofed(); {
		case err != nil:
			return err
		case spoofed && (in != no || !strings.HasPrefix(string(odp.Text{}.AppendActions(nil, f.Actions)), "drop")):
			t.Errorf("flow %s drops what its port may not send", odp.Text{}.AppendKey(nil, f.Key, f.Mask))
		case spoofed:
			inKernel += f.Packets
		case in != no && strings.Contains(string(odp.Text{}.AppendKey(nil, f.Key, f.Mask)), "eth_type("):
			t.Errorf("flow %s of a port without settings reads more than addresses", odp.Text{}.AppendKey(nil, f.Key, f.Mask))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if inKernel == 0 {
		t.Error("no packet was dropped in the kernel")
	}
	e := d.Wait(t, time.Time{}, "source_refused", func(e lab.Event) bool { return e.Int(t, "refused_total") > 0 })
	if e.Text("port") != guest.port || !strings.HasSuffix(e.Text("reason"), "_refused") ||
		!strings.Contains(e.Text("example"), "eth(src=") {
		t.Errorf("source_refused: %v", e.Fields)
	}
	d.Wait(t, time.Time{}, "stats", func(e lab.Event) bool {
		if got := e.Int(t, "spoofed"); got > int64(sent) {
			t.Fatalf("%d packets counted of %d", got, sent)
		} else {
			return got == int64(sent)
		}
		return false
	})
	arpingSpoofed(t, n, d, int64(sent))
	stop(t, d)
}

// arpingSpoofed runs arping in the host with an address that the port may not use.
func arpingSpoofed(t *testing.T, n *network, d *lab.Daemon, before int64) {
	t.Helper()
	guest := n.hosts[0]
	if out, err := guest.Try("busybox", "--list"); err != nil || !slices.Contains(strings.Fields(out), "arping") {
		t.Log("no arping in the lab")
		return
	}
	guest.Run(t, "ip", "addr", "add", "192.0.2.1/24", "dev", "eth0")
	// Nobody answers, so arping exits with an error.
	out, _ := guest.Try("busybox", "arping", "-U", "-c", "2", "-w", "3", "-I", "eth0", "-s", "192.0.2.1", "192.0.2.1")
	t.Logf("%s", out)
	d.Wait(t, time.Time{}, "stats", func(e lab.Event) bool { return e.Int(t, "spoofed") > before })
}
