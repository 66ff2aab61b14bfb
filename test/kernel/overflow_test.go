//go:build lab

package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	vnetlink "github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// daemonSocket is the test's duplicate of a descriptor of a netlink socket of the daemon.
type daemonSocket struct {
	fd       int
	protocol int
	portID   uint32
	rcvbuf   int
	notifier bool // member of multicast groups
}

// daemonSockets duplicates the descriptors of the daemon's netlink sockets (pidfd_getfd, Linux
// 5.6).
func daemonSockets(t *testing.T, d *lab.Daemon) []daemonSocket {
	t.Helper()
	pid := -1
	lab.Need(t, "pidfd_getfd", func() (err error) {
		if pid, err = unix.PidfdOpen(d.PID(), 0); err != nil {
			return err
		}
		t.Cleanup(func() { _ = unix.Close(pid) })
		fd, err := unix.PidfdGetfd(pid, 1, 0) // a descriptor that each process has
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	})
	files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", d.PID()))
	if err != nil {
		t.Fatal(err)
	}
	var all []daemonSocket
	for _, f := range files {
		n, err := strconv.Atoi(f.Name())
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.PidfdGetfd(pid, n, 0)
		if err != nil {
			t.Fatalf("descriptor %d of the daemon: %v", n, err)
		}
		if family, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_DOMAIN); err != nil || family != unix.AF_NETLINK {
			unix.Close(fd)
			continue
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		addr, err := unix.Getsockname(fd)
		if err != nil {
			t.Fatal(err)
		}
		s := daemonSocket{fd: fd, portID: addr.(*unix.SockaddrNetlink).Pid}
		for opt, v := range map[int]*int{unix.SO_PROTOCOL: &s.protocol, unix.SO_RCVBUF: &s.rcvbuf} {
			if *v, err = unix.GetsockoptInt(fd, unix.SOL_SOCKET, opt); err != nil {
				t.Fatal(err)
			}
		}
		// The first 32 groups suffice: those of openvswitch follow the kernel's own.
		groups, err := unix.GetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LIST_MEMBERSHIPS)
		if err != nil {
			t.Fatal(err)
		}
		s.notifier = groups != 0
		all = append(all, s)
	}
	return all
}

// drops returns the number of messages that the kernel could not queue on each netlink socket of a
// namespace, by port id.
func drops(t *testing.T, ns *lab.NetNS, protocol int) map[uint32]uint64 {
	t.Helper()
	all := map[uint32]uint64{}
	err := ns.Do(func() error {
		table, err := netlink.OpenDropTable()
		if err != nil {
			return err
		}
		defer table.Close()
		return table.Read(protocol, all)
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestUpcallSocketOverflow: upcalls that do not fit in a queue while the daemon is stopped are
// counted for that queue, and all others arrive. The overflow of a port's queue does not affect
// other ports; a handler's queue is shared by all ports.
func TestUpcallSocketOverflow(t *testing.T) {
	t.Parallel()
	const count = 3000
	const sink = "02:51:4c:00:0a:01"
	n := newQuietNetwork(t, 3)
	d := n.run(t, smallQueues(settings{"policy": "{type: learning, mac_limit: 20000}", "flows": "{max_idle: 60s}"}))
	v := n.view(t)
	p := n.sockets(t)
	hello := frame(t, broadcast, sink)
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	p[2].Expect(t, waitLimit, among(hello))

	var quiet [][]byte
	var lost uint64
	freeze(t, d, func() {
		before := v.info(t).Stats.Missed
		for i := range count {
			send(t, p[0], numbered(t, i, sink))
		}
		for i := range 10 {
			f := frame(t, sink, fmt.Sprintf("02:9e:00:00:0a:%02x", i))
			quiet = append(quiet, f)
			send(t, p[2], f)
		}
		lost = v.comeUp(t, before+uint64(count+len(quiet))).Lost
	})
	match := among(quiet...)
	load, others := map[uint32]bool{}, 0
	for len(load)+others < count-int(lost)+len(quiet) {
		f, err := p[1].Receive(waitLimit)
		if err != nil {
			break // the check below reports how many are missing
		}
		switch {
		case match(f):
			others++
		case binary.BigEndian.Uint16(f[12:]) == 0x88b6:
			load[binary.BigEndian.Uint32(f[14:])] = true
		}
	}
	t.Logf("%d packets sent while the daemon was stopped, %d arrived, the kernel lost %d", count, len(load), lost)
	if lost == 0 || count+len(quiet)-len(load)-others != int(lost) || !perCPU && others != len(quiet) {
		t.Errorf("%d of %d packets arrived, the kernel lost %d; of the quiet port %d of %d arrived", len(load), count, lost,
			others, len(quiet))
	}
	full := queueOf(n.hosts[0].port)
	d.Wait(t, time.Time{}, "upcalls_lost", func(e lab.Event) bool { return full(e) && e.Text("cause") == fullCause() })
	// The queue accepts upcalls again.
	for i := range 20 {
		f := lab.Frame(t, sink, fmt.Sprintf("02:9f:00:00:0a:%02x", i), 0x88b5, []byte{byte(i)})
		send(t, p[0], f)
		p[1].Expect(t, waitLimit, among(f))
	}
	stop(t, d)
	v.explained(t, d)
	all := d.Events("stats")
	seen := map[string]string{"socket_overflow": "overflows", "ring_full": "overruns"}[fullCause()]
	if all[len(all)-1].Int(t, seen) == 0 {
		t.Errorf("stats: %s is 0", seen)
	}
	for _, e := range d.Events("upcalls_lost") {
		if !full(e) || e.Text("cause") != fullCause() {
			t.Errorf("upcalls_lost: %v", e.Fields)
		}
	}
}

// TestNotifierOverflow: while the daemon is stopped, more changes occur than both notifiers hold;
// the daemon detects and repairs all of them nevertheless.
func TestNotifierOverflow(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, nil)
	v := n.view(t)
	p := n.sockets(t)
	features := v.info(t).Features
	// A configured port without a device yet.
	late := lab.Name("late")
	since := reload(t, d, n.config(settings{"ports": fmt.Sprintf("[{name: %s}, {name: %s}, {name: %s}, {name: %s}]",
		n.hosts[0].port, n.hosts[1].port, n.hosts[2].port, late)}))
	d.Wait(t, since, "port_waiting", forPort(late))
	pids := map[int]uint32{}
	for _, s := range daemonSockets(t, d) {
		if s.notifier {
			pids[s.protocol] = s.portID
		}
	}
	if len(pids) != 2 {
		t.Fatalf("notifiers of the daemon: %v, want one of each protocol", pids)
	}

	var lateHost *lab.NetNS
	freeze(t, d, func() {
		dropped := func(protocol int) bool { return drops(t, n.sw, protocol)[pids[protocol]] > 0 }
		changes := 0
		for no := v.portNo(t, n.hosts[1].port); !dropped(unix.NETLINK_GENERIC); changes++ {
			for i := range uint32(200) {
				if err := v.SetUpcallPID(no, 70_000+i); err != nil {
					t.Fatal(err)
				}
			}
		}
		links := 0
		err := n.sw.Do(func() error {
			lo, err := vnetlink.LinkByName("lo")
			for err == nil && !dropped(unix.NETLINK_ROUTE) {
				for range 200 {
					links++
					err = errors.Join(err, vnetlink.LinkSetAlias(lo, fmt.Sprint("alias ", links)))
				}
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("overflow after %d vport changes and %d link changes", 200*changes, links)
		// No notification of these changes is delivered.
		gone := v.portNo(t, n.hosts[0].port)
		if err := v.DeleteVport(gone); err != nil {
			t.Fatal(err)
		}
		lateHost = lab.Host(t, n.sw, late, "02:1a:7e:00:0b:01")
		if _, err := v.SetFeatures(0, nil); err != nil {
			t.Fatal(err)
		}
		since = time.Now()
	})
	for _, source := range []string{"ovs", "link"} {
		d.Wait(t, since, "notifier_overflow", func(e lab.Event) bool { return e.Text("source") == source })
	}
	for _, name := range []string{"port_removed", "port_added"} {
		d.Wait(t, since, name, forPort(n.hosts[0].port))
	}
	if !perCPU { // the kernel ignores them
		d.Wait(t, since, "upcall_pid_restored", forPort(n.hosts[1].port))
	}
	d.Wait(t, since, "port_added", forPort(late))
	d.Wait(t, since, "features_restored", nil)
	if got := v.info(t).Features; got != features {
		t.Errorf("features are %s, were %s", got, features)
	}
	q := lateHost.OpenPacket(t, "eth0")
	for _, pair := range [][2]*lab.Packet{{p[0], p[1]}, {p[1], p[2]}, {q, p[0]}, {p[2], q}} {
		exchange(t, pair[0], pair[1])
	}
	stop(t, d)
	all := d.Events("stats")
	if got := all[len(all)-1].Int(t, "notifier_overflows"); got != int64(len(d.Events("notifier_overflow"))) {
		t.Errorf("stats count %d overflows, the log has %d", got, len(d.Events("notifier_overflow")))
	}
}

// TestRequestSocketOverflow: more refusals than the sockets of handlers and of the revalidator
// hold. No packet is sent twice, and flows are corrected.
func TestRequestSocketOverflow(t *testing.T) {
	t.Parallel()
	const count, requestBuffer = 200, 2 << 20 // as the kernel reads it
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"flows": "{max_idle: 1s}", "log": "{stats_interval: 200ms}"})
	v := n.view(t)
	p := n.sockets(t)
	sink := odp.MAC{2, 0x51, 0x4c, 0, 0x0c, 1}
	hello := frame(t, broadcast, sink.String())
	send(t, p[1], hello)
	p[0].Expect(t, waitLimit, among(hello))
	shrunk := 0
	for _, s := range daemonSockets(t, d) {
		if s.protocol == unix.NETLINK_GENERIC && !s.notifier && s.rcvbuf == requestBuffer {
			if err := unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1); err != nil {
				t.Fatal(err)
			}
			shrunk++
		}
	}
	if shrunk < 2 {
		t.Fatalf("%d request sockets with a large buffer, want a handler's and the revalidator's", shrunk)
	}

	// Another program installs the flows that the daemon will request, so each request is refused.
	var load [][]byte
	var since time.Time
	missed := v.info(t).Stats.Missed
	freeze(t, d, func() {
		in, out := v.portNo(t, n.hosts[0].port), v.portNo(t, n.hosts[1].port)
		exact := odp.MAC{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
		for i := range count {
			src := odp.MAC{2, 0x0c, 0, 0, 0, byte(i)}
			f := frame(t, sink.String(), src.String())
			load = append(load, f)
			send(t, p[0], f)
		}
		v.comeUp(t, missed+count)
		for i := range count {
			err := v.PutFlow(&dpif.Flow{UFID: dpif.UFID{0xee, 1: byte(i)}, HasUFID: true,
				Key: key(in, odp.MAC{2, 0x0c, 0, 0, 0, byte(i)}, sink),
				Mask: attrs(func(e *netlink.Encoder) {
					odp.AppendInPortMask(e)
					odp.AppendEthernet(e, exact, exact)
				}), Actions: outputs(out)}, dpif.Create)
			if err != nil {
				t.Fatal(err)
			}
		}
		since = time.Now()
	})
	seen := map[string]int{}
	match := among(load...)
	for got := 0; got < count; got++ {
		seen[string(p[1].Expect(t, waitLimit, match))]++
	}
	e := d.Wait(t, since, "request_overflow", func(e lab.Event) bool {
		return strings.HasPrefix(e.Text("owner"), "handler ")
	})
	t.Logf("%s: %s overflows", e.Text("owner"), e.Text("overflows_total"))
	// All flows idle out, although most answers to the revalidator's requests are lost too.
	d.Wait(t, since, "request_overflow", func(e lab.Event) bool { return e.Text("owner") == "revalidator" })
	eventually(t, waitLimit, "idle flows are gone", func() bool { return v.info(t).Stats.Flows == 0 })
	// This frame is sent after all others, so no duplicate can arrive after it.
	last := frame(t, sink.String(), "02:0d:00:00:00:01")
	send(t, p[0], last)
	p[1].Expect(t, waitLimit, func(f []byte) bool {
		if match(f) {
			seen[string(f)]++
		}
		return among(last)(f)
	})
	for i, f := range load {
		if seen[string(f)] != 1 {
			t.Errorf("packet %d arrived %d times", i, seen[string(f)])
		}
	}
	d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Int(t, "request_overflows") > 0 })
	stop(t, d)
}

// TestUpcallStats: the kernel's own count of each port's upcalls agrees with the sockets' drops and
// with the upcalls that the daemon received.
func TestUpcallStats(t *testing.T) {
	t.Parallel()
	perVport(t)
	const count = 2500
	n := newQuietNetwork(t, 2)
	d := n.run(t, settings{"socket": "{rcvbuf: 64KiB}", "log": "{level: debug, stats_interval: 200ms}"})
	v := n.view(t)
	name := n.hosts[0].port
	lab.Need(t, "upcall-stats", func() error {
		if !v.vports(t)[name].Upcalls.Known {
			return errors.New("vports have no upcall statistics")
		}
		return nil
	})
	p := n.sockets(t)
	freeze(t, d, func() {
		for i := range count {
			send(t, p[0], numbered(t, i, broadcast))
		}
		send(t, p[1], frame(t, broadcast, "02:00:00:00:0d:01"))
	})
	var last lab.Event
	eventually(t, waitLimit, "all upcalls are reported", func() bool {
		for _, e := range d.Events("port_stats") {
			if e.Text("port") == name {
				last = e
			}
		}
		return last.Fields != nil && last.Int(t, "upcalls")+last.Int(t, "socket_drops") == count
	})
	u := v.vports(t)[name].Upcalls
	t.Logf("%d packets: the kernel queued %d and failed %d; received %s, dropped %s", count, u.Success, u.Fail,
		last.Text("upcalls"), last.Text("socket_drops"))
	if u.Fail == 0 || int64(u.Success) != last.Int(t, "upcalls") || int64(u.Fail) != last.Int(t, "socket_drops") ||
		last.Int(t, "upcall_success") != int64(u.Success) || last.Int(t, "upcall_fail") != int64(u.Fail) {
		t.Errorf("the kernel counts %+v, port_stats %v", u, last.Fields)
	}
	stop(t, d)
	v.explained(t, d)
}
