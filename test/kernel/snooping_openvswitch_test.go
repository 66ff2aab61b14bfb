//go:build lab

package kernel_test

import (
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/endpoint"
	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// openVSwitch is ovsdb-server and ovs-vswitchd with the bridge br0, in a separate namespace.
type openVSwitch struct {
	ns  *lab.NetNS
	dir string
}

// startOpenVSwitch starts both; commands of ovs-vsctl add settings and ports to the bridge.
func startOpenVSwitch(t *testing.T, ns *lab.NetNS, commands ...string) openVSwitch {
	t.Helper()
	for _, program := range []string{"ovs-appctl", "ovs-vsctl", "ovs-vswitchd", "ovsdb-server", "ovsdb-tool"} {
		lab.Need(t, program, func() error {
			_, err := exec.LookPath(program)
			return err
		})
	}
	o := openVSwitch{ns, t.TempDir()}
	ns.Run(t, "ovsdb-tool", "create", o.file("conf.db"), "/usr/share/openvswitch/vswitch.ovsschema")
	start := func(args ...string) { ns.Start(t, "env", append([]string{"OVS_RUNDIR=" + o.dir}, args...)...) }
	start("ovsdb-server", o.file("conf.db"), "--remote=punix:"+o.file("db.sock"), "--unixctl="+o.file("db.ctl"))
	eventually(t, waitLimit, "ovsdb-server has made its socket", func() bool {
		_, err := os.Stat(o.file("db.sock"))
		return err == nil
	})
	o.vsctl(t, append([]string{"--no-wait", "--", "init", "--", "add-br", "br0"}, commands...)...)
	// In the first 10 s after boot ovs-vswitchd 3.1 finds no CPUs and starts no handlers.
	eventually(t, waitLimit, "the guest has run for 10 s", func() bool {
		var now unix.Timespec
		return unix.ClockGettime(unix.CLOCK_MONOTONIC, &now) == nil && now.Sec > 10
	})
	start("ovs-vswitchd", "unix:"+o.file("db.sock"), "--unixctl="+o.file("vs.ctl"))
	// Returns when ovs-vswitchd has applied the database.
	o.vsctl(t, "set", "Open_vSwitch", ".", "external_ids:test=ready")
	return o
}

func (o openVSwitch) file(name string) string { return filepath.Join(o.dir, name) }

func (o openVSwitch) vsctl(t *testing.T, args ...string) {
	t.Helper()
	o.ns.Run(t, "ovs-vsctl", append([]string{"--timeout=100", "--db=unix:" + o.file("db.sock")}, args...)...)
}

// members returns "VLAN GROUP HOST" and "VLAN querier HOST" of the bridge, where the port of host 0 has the
// OpenFlow number 1.
func (o openVSwitch) members(t *testing.T) []string {
	t.Helper()
	var all []string
	for line := range strings.Lines(o.ns.Run(t, "ovs-appctl", "-t", o.file("vs.ctl"), "mdb/show", "br0")) {
		f := strings.Fields(line)
		if slices.Equal(f, []string{"port", "VLAN", "GROUP", "Age"}) {
			continue
		}
		no := 0
		if _, err := fmt.Sscan(line, &no); err != nil || len(f) != 4 {
			t.Fatalf("mdb/show: line %q cannot be parsed", line)
		}
		all = append(all, fmt.Sprint(f[1], " ", f[2], " ", no-1))
	}
	slices.Sort(all)
	return all
}

// Types of IGMP and MLD messages, and of group records in IGMPv3 and MLDv2 reports.
const (
	igmpQueries, igmpReports1, igmpReports2, igmpLeaves, igmpReports3 = 0x11, 0x12, 0x16, 0x17, 0x22
	mldQueries, mldReports1, mldDone, mldReports2                     = 130, 131, 132, 143

	isInclude, isExclude, toInclude, toExclude, allowSources, blockSources = 1, 2, 3, 4, 5, 6
)

// ofGroup is a message of IGMPv1, IGMPv2 or MLDv1. A query asks for answers within a second.
func ofGroup(typ byte, group string) []byte {
	b := []byte{typ, 0, 0, 0}
	switch typ {
	case igmpQueries:
		b[1] = 10 // tenths of a second
	case mldQueries:
		b = append(b, 1000>>8, 1000&0xff, 0, 0) // milliseconds
	case mldReports1, mldDone:
		b = append(b, 0, 0, 0, 0)
	}
	return append(b, address(group)...)
}

// ofRecords is a report of IGMPv3 or MLDv2.
func ofRecords(typ byte, records ...[]byte) []byte {
	return append([]byte{typ, 0, 0, 0, 0, 0, 0, byte(len(records))}, slices.Concat(records...)...)
}

func groupRecord(typ byte, group string, sources ...string) []byte {
	b := append([]byte{typ, 0, 0, byte(len(sources))}, address(group)...)
	for _, s := range sources {
		b = append(b, address(s)...)
	}
	return b
}

// onesComplement is the Internet checksum (RFC 1071) of an even number of bytes.
func onesComplement(b []byte) uint16 {
	sum := uint32(0)
	for i := 0; i < len(b); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(b[i:]))
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}

// groupFrame is a frame with a message to a group, with the checksum set.
func groupFrame(t *testing.T, h host, from, to string, message []byte) []byte {
	t.Helper()
	group := address(to)
	if len(group) == 4 {
		binary.BigEndian.PutUint16(message[2:], onesComplement(message))
		packet := ipv4Packet(from, to, unix.IPPROTO_IGMP, 0, message)
		packet[8] = 1 // TTL
		mac := net.HardwareAddr{0x01, 0x00, 0x5e, group[1] & 0x7f, group[2], group[3]}
		return lab.Frame(t, mac.String(), h.mac, unix.ETH_P_IP, packet)
	}
	pseudo := slices.Concat(address(from), group, []byte{0, 0, 0, byte(len(message)), 0, 0, 0, unix.IPPROTO_ICMPV6})
	binary.BigEndian.PutUint16(message[2:], onesComplement(append(pseudo, message...)))
	alert := []byte{unix.IPPROTO_ICMPV6, 0, 5, 2, 0, 0, 1, 0} // router alert, RFC 2711
	packet := ipv6Packet(from, to, unix.IPPROTO_HOPOPTS, alert, message)
	packet[7] = 1 // hop limit
	mac := append(net.HardwareAddr{0x33, 0x33}, group[12:]...)
	return lab.Frame(t, mac.String(), h.mac, unix.ETH_P_IPV6, packet)
}

// inVLAN adds a VLAN tag to a frame.
func inVLAN(vlan byte, frame []byte) []byte {
	return slices.Concat(frame[:12], []byte{0x81, 0x00, 0, vlan}, frame[12:])
}

// damaged changes the last byte of a frame's group, so that the checksum is wrong.
func damaged(frame []byte) []byte {
	const igmpGroup, mldGroup = 14 + 20 + 7, 14 + 40 + 8 + 23
	at := igmpGroup
	if frame[12] == 0x86 {
		at = mldGroup
	}
	b := slices.Clone(frame)
	b[at] ^= 1
	return b
}

// TestMulticastLikeOpenVSwitch sends the same IGMP and MLD messages to dpifd and to a bridge of
// Open vSwitch, and compares members and routers after each step. They differ by design in the
// changes listed under ovs or dpifd alone:
//
//   - Open vSwitch keeps members of link-local groups. dpifd sends their packets to all ports.
//   - Open vSwitch removes a member on its leave. dpifd waits for other hosts behind the port: until
//     nobody has answered the querier or, without a querier, for 2 s.
//   - Open vSwitch treats a record that blocks sources, or allows none, as a join. dpifd ignores it
//     (RFC 3376, 4.2.12).
//   - Open vSwitch ignores joins on a port with a router, which receives the packets of all groups.
func TestMulticastLikeOpenVSwitch(t *testing.T) {
	t.Parallel()
	const hosts, access, router = 5, 3, 4 // number of hosts, the one on the access port, the querier
	n := newQuietNetwork(t, hosts)
	ns := lab.NewNetNS(t, "ovs")
	noIPv6(t, ns)
	commands := []string{"--", "set", "Bridge", "br0", "mcast_snooping_enable=true"}
	var ports []string
	index := map[string]string{} // host of a port
	for i, h := range n.hosts {
		port, vlan := lab.Name("op"), ""
		lab.Veth(t, lab.End{NS: ns, Name: port}, lab.End{NS: h.NetNS, Name: "eth1", MAC: h.mac})
		commands = append(commands, "--", "add-port", "br0", port)
		if i == access {
			commands = append(commands, "tag=20")
			vlan = ", vlan: {access: 20}"
		}
		commands = append(commands, "--", "set", "Interface", port, fmt.Sprint("ofport_request=", i+1))
		ports = append(ports, fmt.Sprintf("{name: %s%s}", h.port, vlan))
		index[h.port] = strconv.Itoa(i)
	}
	ovs := startOpenVSwitch(t, ns, commands...)
	d := n.run(t, settings{"ports": "[" + strings.Join(ports, ", ") + "]", "policy": "{multicast_snooping: true}"})
	toSwitch, toBridge := n.sockets(t), []*lab.Packet{}
	for _, h := range n.hosts {
		toBridge = append(toBridge, h.OpenPacket(t, "eth1"))
	}
	members := func() []string {
		var all []string
		for _, g := range ask[[]endpoint.Group](t, n, "dump-groups", n.dpName) {
			group := g.Group
			if g.Router {
				group = "querier"
			}
			all = append(all, fmt.Sprint(g.VLAN, " ", group, " ", index[g.Port]))
		}
		slices.Sort(all)
		return slices.Compact(all) // a router may be known by IGMP and by MLD
	}

	const (
		a, b, c, e = "239.1.2.3", "232.1.2.3", "239.1.2.4", "239.1.3.5"
		u, v, w    = "ff05::1234", "ff0e::1:2", "ff05::1236"
		source     = "192.0.2.1"
		ip4, ip6   = "192.0.2.7", "fe80::7"
		no4, no6   = "0.0.0.0", "::"
		all4, all6 = "224.0.0.1", "ff02::1"
		to4, to6   = "224.0.0.22", "ff02::16" // destinations of reports with records
	)
	type sent struct {
		host  int
		frame []byte
	}
	from := func(host int, from, to string, message []byte) sent {
		return sent{host, groupFrame(t, n.hosts[host], from, to, message)}
	}
	steps := []struct {
		what             string
		sent             []sent
		both, ovs, dpifd []string // "+VLAN GROUP HOST" joins, "-VLAN GROUP HOST" leaves
	}{
		{what: "IGMPv1 and IGMPv2 joins", sent: []sent{
			from(0, ip4, a, ofGroup(igmpReports1, a)),
			from(1, ip4, a, ofGroup(igmpReports2, a)),
		}, both: []string{"+0 " + a + " 0", "+0 " + a + " 1"}},
		{what: "IGMPv3 joins", sent: []sent{
			from(0, ip4, to4, ofRecords(igmpReports3, groupRecord(toExclude, b), groupRecord(allowSources, c, source))),
			from(2, ip4, to4, ofRecords(igmpReports3, groupRecord(isInclude, c, source, ip4), groupRecord(isExclude, e))),
		}, both: []string{"+0 " + b + " 0", "+0 " + c + " 0", "+0 " + c + " 2", "+0 " + e + " 2"}},
		{what: "MLDv1 and MLDv2 joins", sent: []sent{
			from(1, ip6, u, ofGroup(mldReports1, u)),
			from(2, ip6, to6, ofRecords(mldReports2, groupRecord(isExclude, u), groupRecord(toInclude, v, "2001:db8::1"))),
		}, both: []string{"+0 " + u + " 1", "+0 " + u + " 2", "+0 " + v + " 2"}},
		{what: "joins of groups of the link", sent: []sent{
			from(2, ip4, "224.0.0.251", ofGroup(igmpReports2, "224.0.0.251")),
			from(2, ip6, "ff02::fb", ofGroup(mldReports1, "ff02::fb")),
		}, ovs: []string{"+0 224.0.0.251 2", "+0 ff02::fb 2"}},
		{what: "messages with a wrong checksum, then one without", sent: []sent{
			{0, damaged(from(0, ip4, e, ofGroup(igmpReports2, e)).frame)},
			{0, damaged(from(0, ip6, w, ofGroup(mldReports1, w)).frame)},
			from(0, ip6, v, ofGroup(mldReports1, v)),
		}, both: []string{"+0 " + v + " 0"}},
		{what: "joins in VLANs", sent: []sent{
			{2, inVLAN(7, from(2, ip4, a, ofGroup(igmpReports2, a)).frame)},
			{access, inVLAN(7, from(access, ip4, b, ofGroup(igmpReports2, b)).frame)}, // not accepted
			from(access, ip4, a, ofGroup(igmpReports2, a)),
			from(access, ip6, to6, ofRecords(mldReports2, groupRecord(toExclude, u))),
		}, both: []string{"+7 " + a + " 2", "+20 " + a + " 3", "+20 " + u + " 3"}},
		{what: "leaves without a querier", sent: []sent{
			from(1, ip4, "224.0.0.2", ofGroup(igmpLeaves, a)),
			from(0, ip4, to4, ofRecords(igmpReports3, groupRecord(toInclude, b))),
			from(1, ip6, "ff02::2", ofGroup(mldDone, u)),
			from(2, ip6, to6, ofRecords(mldReports2, groupRecord(toInclude, v))),
		}, both: []string{"-0 " + a + " 1", "-0 " + b + " 0", "-0 " + u + " 1", "-0 " + v + " 2"}},
		{what: "records without sources that are wanted", sent: []sent{
			from(1, ip4, to4, ofRecords(igmpReports3, groupRecord(blockSources, b, source), groupRecord(allowSources, e),
				groupRecord(toExclude, c))),
		}, both: []string{"+0 " + c + " 1"}, ovs: []string{"+0 " + b + " 1", "+0 " + e + " 1"}},
		{what: "queries, of which some have no source", sent: []sent{
			from(1, no4, all4, ofGroup(igmpQueries, no4)),
			from(1, no6, all6, ofGroup(mldQueries, no6)),
			from(1, ip6, w, ofGroup(mldReports1, w)),
			from(router, ip4, all4, ofGroup(igmpQueries, no4)),
			from(router, ip6, all6, ofGroup(mldQueries, no6)),
			from(access, ip4, all4, append(ofGroup(igmpQueries, no4), 2, 125, 0, 0)), // IGMPv3
		}, both: []string{"+0 " + w + " 1", "+0 querier 4", "+20 querier 3"}},
		{what: "a join from a router's port", sent: []sent{
			from(router, ip4, e, ofGroup(igmpReports2, e)),
		}, dpifd: []string{"+0 " + e + " 4"}},
		{what: "leaves with a querier", sent: []sent{
			from(0, ip4, "224.0.0.2", ofGroup(igmpLeaves, a)),
			from(0, ip6, w, ofGroup(mldReports1, w)),
			from(2, ip6, to6, ofRecords(mldReports2, groupRecord(toInclude, u), groupRecord(toExclude, w))),
		}, both: []string{"+0 " + w + " 0", "+0 " + w + " 2"}, ovs: []string{"-0 " + a + " 0", "-0 " + u + " 2"}},
		{what: "the querier's questions for the groups left, that nobody answers", sent: []sent{
			from(router, ip4, a, ofGroup(igmpQueries, a)),
			from(router, ip6, u, ofGroup(mldQueries, u)),
		}, dpifd: []string{"-0 " + a + " 0", "-0 " + u + " 2"}},
	}
	want := struct{ bridge, dpifd map[string]bool }{map[string]bool{}, map[string]bool{}}
	change := func(list map[string]bool, by ...string) []string {
		for _, c := range by {
			if c[0] == '+' {
				list[c[1:]] = true
			} else {
				delete(list, c[1:])
			}
		}
		return slices.Sorted(maps.Keys(list))
	}
	messages, alike := 0, 0
	for _, s := range steps {
		for _, m := range s.sent {
			send(t, toSwitch[m.host], m.frame)
			send(t, toBridge[m.host], m.frame)
			messages++
		}
		ofBridge := change(want.bridge, slices.Concat(s.both, s.ovs)...)
		ofSwitch := change(want.dpifd, slices.Concat(s.both, s.dpifd)...)
		becomes(t, s.what+": members that Open vSwitch has", ofBridge, func() []string { return ovs.members(t) })
		becomes(t, s.what+": members that dpifd has", ofSwitch, members)
		for _, m := range ofSwitch {
			if want.bridge[m] {
				alike++
			}
		}
	}
	t.Logf("%d messages in %d steps, after which %d members and routers were the same", messages, len(steps), alike)
	stop(t, d)
}
