//go:build lab

package kernel_test

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
	"dpifd/internal/odp"
	"dpifd/internal/snoop"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// join makes the kernel of a host join a group on a device until leave is called.
func join(t *testing.T, ns *lab.NetNS, device, group string) (leave func()) {
	t.Helper()
	addr := netip.MustParseAddr(group)
	fd := -1
	err := ns.Do(func() error {
		dev, err := net.InterfaceByName(device)
		if err != nil {
			return err
		}
		if addr.Is4() {
			if fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
				return err
			}
			return unix.SetsockoptIPMreqn(fd, unix.IPPROTO_IP, unix.IP_ADD_MEMBERSHIP,
				&unix.IPMreqn{Multiaddr: addr.As4(), Ifindex: int32(dev.Index)})
		}
		if fd, err = unix.Socket(unix.AF_INET6, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0); err != nil {
			return err
		}
		return unix.SetsockoptIPv6Mreq(fd, unix.IPPROTO_IPV6, unix.IPV6_JOIN_GROUP,
			&unix.IPv6Mreq{Multiaddr: addr.As16(), Interface: uint32(dev.Index)})
	})
	if err != nil {
		t.Fatalf("join %s on %s: %v", group, device, err)
	}
	done := false
	leave = func() {
		if !done {
			_ = unix.Close(fd)
		}
		done = true
	}
	t.Cleanup(leave)
	return leave
}

// membersOf returns "GROUP PORT" of all members except those of link-local groups.
func membersOf(list map[[2]string]bool) []string {
	var all []string
	for m := range maps.Keys(list) {
		if !snoop.IsLinkScope(netip.MustParseAddr(m[0])) {
			all = append(all, m[0]+" "+m[1])
		}
	}
	slices.Sort(all)
	return all
}

// igmpQuery is a general query of IGMPv2 that asks for answers within a second.
func igmpQuery(t *testing.T, h host) []byte {
	t.Helper()
	m := []byte{0x11, 10, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(m[2:], ^uint16(0x110a))
	p := ipv4Packet(h.ip4, "224.0.0.1", unix.IPPROTO_IGMP, 0, m)
	p[8] = 1 // TTL
	return lab.Frame(t, "01:00:5e:00:00:01", h.mac, unix.ETH_P_IP, p)
}

// TestMulticastSnooping: of 128 ports only members of a group and a router get its packets, and the
// members agree with those of the kernel's bridge after the same joins and leaves.
func TestMulticastSnooping(t *testing.T) {
	t.Parallel()
	const hosts, others = 5, 123
	n := newNetwork(t, hosts, 0)
	bridge := lab.NewNetNS(t, "bridge")
	lab.Need(t, "bridges with multicast snooping", func() error {
		_, err := bridge.Try("ip", "link", "add", "br0", "type", "bridge", "mcast_snooping", "1")
		return err
	})
	bridge.SetLink(t, "br0", true)
	ports, index := []string{}, map[string]string{} // index: host of a port of switch or bridge
	for i, h := range n.hosts {
		port := fmt.Sprint("bp", i)
		lab.Veth(t, lab.End{NS: bridge, Name: port}, lab.End{NS: h.NetNS, Name: "eth1",
			Addrs: []string{fmt.Sprintf("10.250.0.%d/24", i+1)}})
		bridge.Run(t, "ip", "link", "set", port, "master", "br0")
		index[h.port], index[port] = fmt.Sprint(i), fmt.Sprint(i)
		ports = append(ports, h.port)
	}
	err := n.sw.Do(func() error {
		for range others {
			attrs := netlink.NewLinkAttrs()
			attrs.Name = lab.Name("dm")
			dev := &netlink.Dummy{LinkAttrs: attrs}
			if err := netlink.LinkAdd(dev); err != nil {
				return err
			}
			if err := netlink.LinkSetUp(dev); err != nil {
				return err
			}
			ports = append(ports, attrs.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	d := n.run(t, settings{"ports": lab.Ports(ports...), "policy": "{multicast_snooping: true}",
		"flows": "{max_idle: 60s}"})
	p := n.sockets(t)

	ofSwitch := func() []string {
		list := map[[2]string]bool{}
		for _, g := range ask[[]endpoint.Group](t, n, "dump-groups", n.dpName) {
			if !g.Router {
				list[[2]string{g.Group, index[g.Port]}] = true
			}
		}
		return membersOf(list)
	}
	ofBridge := func() []string {
		var dump []struct {
			MDB []struct{ Port, Grp string } `json:"mdb"`
		}
		out := bridge.Run(t, "bridge", "-j", "mdb", "show")
		if err := json.Unmarshal([]byte(out), &dump); err != nil || len(dump) == 0 {
			t.Fatalf("bridge mdb: %v in\n%s", err, out)
		}
		list := map[[2]string]bool{}
		for _, m := range dump[0].MDB {
			if index[m.Port] != "" {
				list[[2]string{m.Grp, index[m.Port]}] = true
			}
		}
		return membersOf(list)
	}
	same := func(when string, want ...string) {
		t.Helper()
		slices.Sort(want)
		for _, of := range []struct {
			what string
			list func() []string
		}{{"the switch", ofSwitch}, {"the bridge", ofBridge}} {
			becomes(t, of.what+" has these members "+when, want, of.list)
		}
	}
	leave := map[string]func(){}
	both := func(i int, group string) {
		t.Helper()
		one, two := join(t, n.hosts[i].NetNS, "eth0", group), join(t, n.hosts[i].NetNS, "eth1", group)
		leave[fmt.Sprint(group, " ", i)] = func() { one(); two() }
	}
	const a, b, c = "239.1.2.3", "232.1.2.3", "ff05::1234"
	both(1, a)
	both(2, a)
	both(1, b)
	both(3, c)
	both(2, c)
	same("after joins", a+" 1", a+" 2", b+" 1", c+" 2", c+" 3")
	leave[b+" 1"]()
	leave[c+" 3"]()
	same("after leaves", a+" 1", a+" 2", c+" 2")

	// The router sends a query, which all hosts answer.
	const sender, router = 0, 4
	send(t, p[router], igmpQuery(t, n.hosts[router]))
	eventually(t, waitLimit, "the querier's port is a router's", func() bool {
		for _, g := range ask[[]endpoint.Group](t, n, "dump-groups", n.dpName) {
			if g.Router && !g.IPv6 && g.Port == n.hosts[router].port {
				return true
			}
		}
		return false
	})
	v := n.view(t)
	// flow returns the hosts to which the kernel sends a group's packets, and the number of packets
	// sent.
	flow := func(group string) (to []string, packets uint64) {
		names := map[odp.PortNo]string{}
		for name, port := range v.vports(t) {
			names[port.No] = name
		}
		err := v.Flows(false, func() { to, packets = nil, 0 }, func(f *dpif.Flow) error {
			if !strings.Contains(string(odp.Text{}.AppendKey(nil, f.Key, f.Mask)), "dst="+group) {
				return nil
			}
			seen, err := readFlow(f)
			if err != nil {
				return err
			}
			for no := range strings.SplitSeq(seen.actions, ",") {
				for port, name := range names {
					if port.String() == no {
						to = append(to, index[name])
					}
				}
			}
			packets = f.Packets
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(to)
		return to, packets
	}
	serial := byte(0)
	data := func(group, mac string) []byte {
		serial++
		payload := append(udpPacket(1, 2), serial)
		if netip.MustParseAddr(group).Is4() {
			return lab.Frame(t, mac, n.hosts[sender].mac, unix.ETH_P_IP,
				ipv4Packet(n.hosts[sender].ip4, group, unix.IPPROTO_UDP, 0, payload))
		}
		return lab.Frame(t, mac, n.hosts[sender].mac, unix.ETH_P_IPV6,
			ipv6Packet(n.hosts[sender].ip6, group, unix.IPPROTO_UDP, payload))
	}
	goesTo := func(group, mac string, want ...string) {
		t.Helper()
		eventually(t, waitLimit, fmt.Sprintf("packets of %s go to %v only", group, want), func() bool {
			send(t, p[sender], data(group, mac))
			to, packets := flow(group)
			return slices.Equal(to, want) && packets > 3
		})
		last := data(group, mac) // sent after the flow is correct
		send(t, p[sender], last)
		for _, i := range want {
			p[int(i[0]-'0')].Expect(t, waitLimit, among(last))
		}
	}
	goesTo(a, "01:00:5e:01:02:03", "1", "2", "4")
	before := v.info(t).Stats.Missed
	frames := [][]byte{}
	for range 50 {
		frames = append(frames, data(a, "01:00:5e:01:02:03"))
	}
	send(t, p[sender], frames...)
	for _, i := range []int{1, 2, 4} {
		missing := map[string]bool{} // a packet that caused an upcall may be late
		for _, f := range frames {
			missing[string(f)] = true
		}
		p[i].Expect(t, waitLimit, func(f []byte) bool { delete(missing, string(f)); return len(missing) == 0 })
	}
	if got := p[3].Count(t, among(frames...)); got != 0 {
		t.Errorf("hosts that are not members got %d packets", got)
	}
	if came := v.info(t).Stats.Missed - before; came > 25 {
		t.Errorf("%d packets caused upcalls while 50 were sent to a group", came)
	}
	// A join and a leave change the existing flow.
	both(3, a)
	goesTo(a, "01:00:5e:01:02:03", "1", "2", "3", "4")
	goesTo(c, "33:33:00:00:12:34", "2")
	e := d.Wait(t, time.Time{}, "stats", func(e lab.Event) bool {
		return e.Int(t, "group_reports") > 0 && e.Int(t, "group_queries") > 0
	})
	if e.Int(t, "group_messages_malformed") != 0 {
		t.Errorf("stats: %v", e.Fields)
	}
	stop(t, d)
}
