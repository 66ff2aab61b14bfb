//go:build lab

package kernel_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// bond creates a bond of links in a namespace, as docs/BONDS.md describes.
func bond(t *testing.T, ns *lab.NetNS, name string, links ...string) {
	t.Helper()
	lab.Need(t, "bonding", func() error {
		_, err := ns.Try("ip", "link", "add", name, "type", "bond", "mode", "802.3ad", "miimon", "100", "lacp_rate", "fast",
			"xmit_hash_policy", "layer3+4")
		return err
	})
	for _, link := range links {
		ns.Run(t, "ip", "link", "set", link, "down")
		ns.Run(t, "ip", "link", "set", link, "master", name)
	}
	ns.Run(t, "ip", "link", "set", name, "up")
}

// TestBondPort uses an LACP bond as a port: traffic continues when one link is down, and the links
// of the bond do not form a loop.
func TestBondPort(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 1)
	far := lab.NewNetNS(t, "far")
	noIPv6(t, far)
	near := []string{lab.Name("lag"), lab.Name("lag")}
	for i, link := range near {
		lab.Veth(t, lab.End{NS: n.sw, Name: link}, lab.End{NS: far, Name: []string{"eth1", "eth2"}[i]})
	}
	uplink := lab.Name("bond")
	bond(t, n.sw, uplink, near...)
	bond(t, far, "bond0", "eth1", "eth2")
	d := n.run(t, settings{"ports": lab.Ports(n.hosts[0].port, uplink), "loop_guard": "block"})
	eventually(t, waitLimit, "LACP has made one aggregator of both links", func() bool {
		state := n.sw.Run(t, "cat", "/proc/net/bonding/"+uplink)
		return strings.Contains(state, "Number of ports: 2") &&
			!strings.Contains(state, "Partner Mac Address: 00:00:00:00:00:00")
	})
	host, peer := n.hosts[0].OpenPacket(t, "eth0"), far.OpenPacket(t, "bond0")
	crosses := func(what string) {
		t.Helper()
		for _, way := range [][2]*lab.Packet{{host, peer}, {peer, host}} {
			src := map[*lab.Packet]string{host: "02:5c:00:00:b0:01", peer: "02:5c:00:00:b0:02"}[way[0]]
			eventually(t, waitLimit, what, func() bool {
				f := frame(t, broadcast, src)
				// While LACP changes links, a bond may refuse frames.
				if err := way[0].Send(f); err != nil && !errors.Is(err, unix.ENOBUFS) {
					t.Fatal(err)
				}
				time.Sleep(50 * time.Millisecond)
				return way[1].Count(t, among(f)) > 0
			})
		}
	}
	crosses("frames cross the bond")
	f := frame(t, broadcast, "02:5c:00:00:b0:02")
	send(t, peer, f)
	host.Expect(t, waitLimit, among(f))
	if again := host.Count(t, among(f)) + peer.Count(t, among(f)); again > 0 {
		t.Errorf("a broadcast arrived %d more times", again)
	}
	n.sw.SetLink(t, near[0], false)
	crosses("frames cross the bond without one link")
	n.sw.SetLink(t, near[0], true)
	n.sw.SetLink(t, near[1], false)
	crosses("frames cross the bond without the other link")
	for _, event := range []string{"mac_flapping", "loop_detected", "port_blocked", "port_removed", "upcalls_lost"} {
		if e := d.Events(event); len(e) > 0 {
			t.Errorf("%s: %v", event, e)
		}
	}
}
