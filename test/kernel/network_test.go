//go:build lab

package kernel_test

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"golang.org/x/sys/unix"
)

// waitLimit bounds the wait for what should happen at once, such as the arrival of frames. Times
// that the requirements limit have their own limits.
const waitLimit = time.Minute

// cycle is the revalidator's cycle, slack the delay allowed for emulated CPUs.
const (
	cycle = 500 * time.Millisecond
	slack = 500 * time.Millisecond
)

// host is a namespace with one device, eth0, connected to a port.
type host struct {
	*lab.NetNS
	port     string // the device's peer, in the switch's namespace
	mac      string
	ip4, ip6 string // "" for a quiet host
}

// network is a namespace for a datapath, and the hosts connected to it.
type network struct {
	sw     *lab.NetNS
	dpName string
	hosts  []host
}

var subnets atomic.Uint32

// newNetwork creates a network of n hosts with addresses that are unique in this run. The daemon
// creates the datapath.
func newNetwork(t *testing.T, n, mtu int) *network {
	t.Helper()
	return build(t, n, mtu, false)
}

// newQuietNetwork creates a network whose hosts have no addresses and send nothing unless told to.
func newQuietNetwork(t *testing.T, n int) *network {
	t.Helper()
	return build(t, n, 0, true)
}

func build(t *testing.T, n, mtu int, quiet bool) *network {
	t.Helper()
	if perCPU {
		needPerCPU(t)
	}
	id := subnets.Add(1)
	net := &network{sw: lab.NewNetNS(t, "sw"), dpName: lab.Name("dp")}
	noIPv6(t, net.sw)
	for i := range n {
		h := host{
			NetNS: lab.NewNetNS(t, "host"),
			port:  lab.Name("port"),
			mac:   fmt.Sprintf("02:%02x:5e:10:%02x:%02x", id, i*37%256, 0xf0-i),
		}
		var addrs []string
		if quiet {
			noIPv6(t, h.NetNS)
		} else {
			h.ip4, h.ip6 = fmt.Sprintf("10.%d.7.%d", id, 11+i), fmt.Sprintf("fd00:%x::%x", id, 0xa1+i)
			addrs = []string{h.ip4 + "/24", h.ip6 + "/64"}
		}
		lab.Veth(t, lab.End{NS: net.sw, Name: h.port, MTU: mtu},
			lab.End{NS: h.NetNS, Name: "eth0", MAC: h.mac, Addrs: addrs, MTU: mtu})
		net.hosts = append(net.hosts, h)
	}
	return net
}

// noIPv6 disables IPv6 on devices created in the namespace from now on, so that they send no router
// solicitations and the like.
func noIPv6(t *testing.T, ns *lab.NetNS) {
	t.Helper()
	setIPv6(t, ns, false)
}

// setIPv6 enables or disables IPv6 on devices created in the namespace from now on.
func setIPv6(t *testing.T, ns *lab.NetNS, on bool) {
	t.Helper()
	if err := ns.SetIPv6(on); err != nil {
		t.Fatal(err)
	}
}

type settings = lab.Settings

// config returns a configuration for the network: its datapath, the ports of all hosts, and the
// settings s.
func (n *network) config(s settings) string {
	var ports []string
	for _, h := range n.hosts {
		ports = append(ports, h.port)
	}
	all := settings{
		"datapath": "{name: " + n.dpName + "}",
		"ports":    lab.Ports(ports...),
		"log":      "{stats_interval: 1s}",
	}
	if perCPU {
		all["dispatch"] = "per-cpu"
	}
	all = all.With(s)
	if flows := all["flows"]; inTwoStages && !strings.Contains(flows, "stages:") {
		all["flows"] = "{stages: two, " + strings.TrimPrefix(cmp.Or(flows, "{}"), "{")
	}
	return all.Text()
}

// inTwoStages makes all daemons use flows in two stages, except in tests that set stages.
var inTwoStages = os.Getenv("DPIFD_LAB_STAGES") == "two"

// run starts the daemon and waits until it is ready.
func (n *network) run(t *testing.T, s settings) *lab.Daemon {
	t.Helper()
	if _, said := daemonless.Load(t.Name()); said {
		t.Fatal("the test runs a daemon after calling noDaemon")
	}
	if _, said := settingDispatch.Load(t.Name()); said && s["dispatch"] == "" {
		t.Fatal("the test leaves dispatch unset after calling setsDispatch")
	}
	d := n.sw.StartDaemon(t, n.config(s))
	d.Wait(t, time.Time{}, "ready", nil)
	return d
}

// perCPU makes all daemons dispatch by CPU, except in tests that set dispatch.
var perCPU = os.Getenv("DPIFD_LAB_DISPATCH") == "per-cpu"

// vportOnly maps the tests that need the sockets of vports to the reason.
var vportOnly = map[string]string{
	"TestFairness":    "that one port's flood costs another nothing is what dispatch by vport is for",
	"TestUpcallStats": "it holds the kernel's count of each vport against that of the vport's socket",
}

// perVport skips a test listed in vportOnly if tests run with dispatch by CPU.
func perVport(t *testing.T) {
	t.Helper()
	why, ok := vportOnly[t.Name()]
	if !ok {
		t.Fatal("vportOnly gives no reason for this test")
	}
	if perCPU {
		t.Skip("dispatch by CPU: " + why)
	}
}

// daemonless and settingDispatch hold the names of tests that called noDaemon and setsDispatch.
var daemonless, settingDispatch sync.Map

// noDaemon skips a test in which no daemon serves a datapath if tests run with dispatch by CPU: the
// run by vport covers it.
func noDaemon(t *testing.T) {
	t.Helper()
	daemonless.Store(t.Name(), true)
	if perCPU {
		t.Skip("dispatch by CPU: no daemon serves a datapath in this test")
	}
}

// setsDispatch is noDaemon for a test that sets dispatch itself.
func setsDispatch(t *testing.T) {
	t.Helper()
	settingDispatch.Store(t.Name(), true)
	if perCPU {
		t.Skip("dispatch by CPU: the test sets dispatch itself")
	}
}

// queueOf returns a predicate for events about the queue of a port's upcalls: the port's own or,
// with dispatch by CPU, that of any handler.
func queueOf(port string) func(lab.Event) bool {
	return func(e lab.Event) bool {
		if perCPU {
			return strings.HasPrefix(e.Text("port"), "handler ")
		}
		return e.Text("port") == port
	}
}

// listeners are the upcall PIDs of a datapath by port or, with dispatch by CPU, by CPU.
type listeners map[string]uint32

func (v view) listeners(t *testing.T) listeners {
	t.Helper()
	all := listeners{}
	if info := v.info(t); info.Features&dpif.FeatureDispatchPerCPU != 0 {
		for cpu, pid := range info.PerCPUPIDs {
			all[fmt.Sprint("CPU ", cpu)] = pid
		}
		return all
	}
	for name, p := range v.vports(t) {
		if len(p.UpcallPIDs) != 1 {
			t.Errorf("port %s has upcall PIDs %d", name, p.UpcallPIDs)
			continue
		}
		all[name] = p.UpcallPIDs[0]
	}
	return all
}

// of returns the upcall PID of a port or, with dispatch by CPU, of any CPU.
func (l listeners) of(port string) uint32 {
	if pid, ok := l[port]; ok {
		return pid
	}
	return l.pids()[0]
}

// pids are the PIDs of the listeners' sockets, without duplicates.
func (l listeners) pids() []uint32 {
	return slices.Compact(slices.Sorted(maps.Values(l)))
}

// stop stops the daemon, which must exit with code 0.
func stop(t *testing.T, d *lab.Daemon) {
	t.Helper()
	if err := d.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
		t.Errorf("exit after SIGTERM: %v", err)
	}
}

// view is the test's own access to a datapath.
type view struct{ *dpif.Datapath }

// dial opens a request socket in a namespace and looks up the families.
func dial(t testing.TB, ns *lab.NetNS) (*netlink.Conn, *dpif.Families) {
	t.Helper()
	var conn *netlink.Conn
	err := ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: 1 << 20})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	fam, err := dpif.ResolveFamilies(conn)
	if err != nil {
		t.Fatal(err)
	}
	return conn, fam
}

func (n *network) view(t *testing.T) view {
	t.Helper()
	conn, fam := dial(t, n.sw)
	dp, err := dpif.OpenDatapath(conn, fam, n.dpName)
	if err != nil {
		t.Fatal(err)
	}
	return view{dp}
}

func (v view) info(t *testing.T) dpif.DatapathInfo {
	t.Helper()
	info, err := v.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// comeUp waits until the datapath has missed count packets. Packets that were sent may still be in
// a queue of the kernel.
func (v view) comeUp(t *testing.T, count uint64) dpif.DatapathStats {
	t.Helper()
	var stats dpif.DatapathStats
	eventually(t, waitLimit, fmt.Sprintf("%d packets have caused upcalls", count), func() bool {
		stats = v.info(t).Stats
		return stats.Missed >= count
	})
	return stats
}

func (v view) vports(t *testing.T) map[string]dpif.Vport {
	t.Helper()
	list, err := v.Vports()
	if err != nil {
		t.Fatal(err)
	}
	all := make(map[string]dpif.Vport)
	for _, p := range list {
		all[p.Name] = p
	}
	return all
}

func (v view) portNo(t *testing.T, name string) odp.PortNo {
	t.Helper()
	p, ok := v.vports(t)[name]
	if !ok {
		t.Fatalf("datapath %s has no port %s", v.Name(), name)
	}
	return p.No
}

// flow is a flow of the kernel in ovs-dpctl's notation.
type flow struct {
	inPort  odp.PortNo
	eth     string // "src=02:00:00:00:00:01,dst=33:33:00:00:00:00/ff:ff:00:00:00:00"
	actions string // "2,3", "drop" or "recirc(0x1)"
}

// flows returns the packet counts of the flow table by flow.
func (v view) flows(t *testing.T) map[flow]uint64 {
	t.Helper()
	all := make(map[flow]uint64)
	err := v.Flows(false, func() { clear(all) }, func(f *dpif.Flow) error {
		seen, err := readFlow(f)
		all[seen] = f.Packets
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func readFlow(f *dpif.Flow) (flow, error) {
	var k odp.Key
	if err := odp.ParseKey(f.Key, &k); err != nil {
		return flow{}, err
	}
	var src, dst odp.MAC
	it := netlink.NewAttrs(f.Mask)
	for it.Next() {
		if b := it.Data(); it.Type() == odp.KeyAttrEthernet && len(b) == 12 {
			src, dst = odp.MAC(b[:6]), odp.MAC(b[6:])
		}
	}
	var eth []string
	for _, half := range []struct {
		name       string
		value, bit odp.MAC
	}{{"src", k.EthSrc, src}, {"dst", k.EthDst, dst}} {
		switch {
		case half.bit.IsZero():
		case half.bit.IsBroadcast():
			eth = append(eth, half.name+"="+half.value.String())
		default:
			eth = append(eth, half.name+"="+half.value.String()+"/"+half.bit.String())
		}
	}
	var actions []string
	out := netlink.NewAttrs(f.Actions)
	for out.Next() {
		switch out.Type() {
		case odp.ActionAttrOutput:
			actions = append(actions, fmt.Sprint(out.Uint32()))
		case odp.ActionAttrRecirc:
			actions = append(actions, fmt.Sprintf("recirc(%#x)", out.Uint32()))
		case odp.ActionAttrDrop: // a flow without actions on kernels before 6.7
		default:
			return flow{}, fmt.Errorf("flow with action %d", out.Type())
		}
	}
	if actions == nil {
		actions = []string{"drop"}
	}
	if err := it.Err(); err != nil {
		return flow{}, err
	}
	return flow{k.InPort, strings.Join(eth, ","), strings.Join(actions, ",")}, out.Err()
}

// eventually waits until done returns true. After limit, not counting stalls of the guest, it fails
// the test with the text what.
func eventually(t *testing.T, limit time.Duration, what string, done func() bool) {
	t.Helper()
	within := lab.Within(limit)
	for !done() {
		if within.Passed() {
			t.Fatalf("not within %v: %s", limit, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
