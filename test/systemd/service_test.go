//go:build lab && systemd

package systemd_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/test/bench/load"

	"golang.org/x/sys/unix"
)

// waitLimit bounds the wait for what should happen at once.
const waitLimit = 2 * time.Minute

// service is a running instance of dpifd@.service whose datapath connects two hosts, in the root
// network namespace.
type service struct {
	root    *lab.NetNS
	name    string // name of the instance and its datapath
	unit    string
	journal *lab.Daemon    // log of the instance
	hosts   []*lab.NetNS   // the sending and the receiving one
	from    *lab.Packet    // socket of the sending host
	to      *lab.Packet    // socket of the receiving host
	arrived *lab.Collector // frames received there
	sent    int            // number of packets sent
	ports   []string       // the hosts' ports
	dp      *dpif.Datapath // the test's own access
}

// start starts an instance that serves the ports of two hosts, and more if given, and returns when
// systemctl does. dropIn is a drop-in of the unit, "" for none.
func start(t *testing.T, dropIn string, more ...string) *service {
	t.Helper()
	root := lab.Root(t)
	name := lab.Name("sd")
	s := &service{root: root, name: name, unit: "dpifd@" + name + ".service"}
	for range 2 {
		port := lab.Name("port")
		s.hosts = append(s.hosts, lab.Host(t, root, port, ""))
		s.ports = append(s.ports, port)
		t.Cleanup(func() { _, _ = root.Try("ip", "link", "delete", port) })
	}
	s.configure(t, lab.Settings{
		"datapath": "{name: " + name + ", on_exit: keep}",
		"ports":    lab.Ports(append(more, s.ports...)...),
		"policy":   "{type: learning, mac_limit: 50000}",
		"log":      "{stats_interval: 1s}",
		"flows":    "{max_idle: 60s}",
	})
	if dropIn != "" {
		s.dropIn(t, dropIn)
	}
	s.systemctl(t, "start", s.unit)
	t.Cleanup(func() {
		_, _ = root.Try("systemctl", "stop", s.unit)
		_, _ = root.Try("ovs-dpctl", "del-dp", name)
	})
	s.journal = &lab.Daemon{Process: root.Start(t, "journalctl", "--follow", "--lines=all", "--output=cat",
		"--unit="+s.unit)}
	s.dp = open(t, root, name)
	s.from, s.to = s.hosts[0].OpenPacket(t, "eth0"), s.hosts[1].OpenPacket(t, "eth0")
	s.arrived = lab.Collect(t, s.to)
	missed := s.stats(t).Missed
	if err := s.to.Send(load.Hello()); err != nil {
		t.Fatal(err)
	}
	s.eventually(t, "the hello is forwarded", func() bool { return s.stats(t).Missed > missed })
	return s
}

// dropIn adds a drop-in to the unit.
func (s *service) dropIn(t *testing.T, text string) {
	t.Helper()
	dir := filepath.Join("/etc/systemd/system", s.unit+".d")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "test.conf"), []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	s.systemctl(t, "daemon-reload")
}

func (s *service) configure(t *testing.T, settings lab.Settings) {
	t.Helper()
	path := s.config()
	if err := os.WriteFile(path, []byte(settings.Text()), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(path) })
}

func (s *service) config() string { return "/etc/dpifd/" + s.name + ".yaml" }

// open opens a datapath for the test.
func open(t *testing.T, ns *lab.NetNS, name string) *dpif.Datapath {
	t.Helper()
	var conn *netlink.Conn
	err := ns.Do(func() (err error) {
		conn, err = netlink.Dial(unix.NETLINK_GENERIC, netlink.Config{RcvBuf: 1 << 20})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	fam, err := dpif.ResolveFamilies(conn)
	if err != nil {
		t.Fatal(err)
	}
	dp, err := dpif.OpenDatapath(conn, fam, name)
	if err != nil {
		t.Fatal(err)
	}
	return dp
}

func (s *service) systemctl(t *testing.T, args ...string) {
	t.Helper()
	if out, err := s.root.Try("systemctl", args...); err != nil {
		t.Fatalf("%v\n%s\n%s", err, out, s.root.Run(t, "journalctl", "--no-pager", "--unit="+s.unit))
	}
}

// property returns a property of the service's unit.
func (s *service) property(t *testing.T, name string) string {
	t.Helper()
	return property(t, s.root, s.unit, name)
}

func property(t *testing.T, root *lab.NetNS, unit, name string) string {
	t.Helper()
	return strings.TrimSpace(root.Run(t, "systemctl", "show", "--value", "--property="+name, unit))
}

func (s *service) number(t *testing.T, name string) int {
	t.Helper()
	text := s.property(t, name)
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("property %s is %q", name, text)
	}
	return n
}

// pids returns the upcall PIDs of all vports by name.
func (s *service) pids(t *testing.T) map[string]uint32 {
	t.Helper()
	vports, err := s.dp.Vports()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]uint32{}
	for _, v := range vports {
		if len(v.UpcallPIDs) != 1 {
			t.Fatalf("port %s has upcall PIDs %d", v.Name, v.UpcallPIDs)
		}
		all[v.Name] = v.UpcallPIDs[0]
	}
	return all
}

func (s *service) stats(t *testing.T) dpif.DatapathStats {
	t.Helper()
	info, err := s.dp.Info()
	if err != nil {
		t.Fatal(err)
	}
	return info.Stats
}

// send sends packets to the learned station, each from a new station so that it creates a flow, at
// rate a second. Send errors fail the test.
func (s *service) send(t *testing.T, count, rate int) {
	t.Helper()
	_, err := load.Pace(t.Context(), count, rate, func(int) error {
		frame := load.Frame(load.Sink, uint32(s.sent), 60+s.sent*37%400)
		s.sent++
		return s.from.Send(frame)
	})
	if err != nil {
		t.Error(err)
	}
}

// pass sends some packets and waits until all packets sent so far have arrived.
func (s *service) pass(t *testing.T) {
	t.Helper()
	s.send(t, 20, 1000)
	s.eventually(t, "all packets arrive", func() bool { return s.arrived.Count() == s.sent })
}

func (s *service) eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for within := lab.Within(waitLimit); !done(); time.Sleep(50 * time.Millisecond) {
		if within.Passed() {
			t.Fatalf("not within %v: %s\n%s", waitLimit, what, s.root.Run(t, "systemctl", "status", "--no-pager", s.unit))
		}
	}
}
