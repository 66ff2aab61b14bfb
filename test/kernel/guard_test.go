//go:build lab

package kernel_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// fakeUpcall builds a well-formed OVS_PACKET_CMD_MISS as the kernel would send
// it about a datapath. Attribute numbers are those of enum ovs_packet_attr,
// linux/openvswitch.h.
func fakeUpcall(fam *dpif.Families, dpIndex int32, key, packet []byte) []byte {
	const cmdMiss, attrPacket, attrKey = 1, 1, 2
	var e netlink.Encoder
	e.Begin(fam.Packet.ID, 0)
	genl.AppendHeader(&e, cmdMiss, fam.Packet.Version)
	e.RawUint32(uint32(dpIndex))
	e.Attr(attrKey, key)
	e.Attr(attrPacket, packet)
	e.End()
	return e.Bytes()
}

// TestInjection: no process, not even root's, can put an upcall into the
// daemon's sockets.
func TestInjection(t *testing.T) {
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	v := n.view(t)
	p := n.sockets(t)
	packet := frame(t, broadcast, "02:ba:d0:00:00:01")
	in := v.portNo(t, n.hosts[0].port)
	_, fam := dial(t, n.sw)
	fake := fakeUpcall(fam, v.Index(), key(in, [6]byte(packet[6:12]), [6]byte(packet[:6])), packet)
	var u dpif.Upcall
	if err := dpif.ParseUpcall(fake, fam.Packet.ID, v.Index(), &u); err != nil || u.InPort != in {
		t.Fatalf("the fake is not an upcall to dpif: in-port %d, %v", u.InPort, err)
	}

	open := func() int {
		fd := -1
		err := n.sw.Do(func() (err error) {
			fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
			if err == nil {
				err = unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	attacker, victim := open(), open()
	addr, err := unix.Getsockname(victim)
	if err != nil {
		t.Fatal(err)
	}
	// A socket that is not connected to the kernel takes it.
	if err := unix.Sendto(attacker, fake, 0, addr); err != nil {
		t.Fatalf("send to a socket of the test's own: %v", err)
	}

	added := d.Events("port_added")
	if len(added) != 3 {
		t.Fatalf("%d port_added, want 3", len(added))
	}
	for _, e := range added {
		to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: uint32(e.Int(t, "upcall_pid"))}
		if to.Pid == 0 || !contains(v.vports(t)[e.Text("port")].UpcallPIDs, to.Pid) {
			t.Errorf("port_added names PID %d, which is not the port's", to.Pid)
		}
		wantErrno(t, "send to the upcall socket of "+e.Text("port"), unix.Sendto(attacker, fake, 0, to), unix.ECONNREFUSED)
	}
	stop(t, d)
	if got := p[1].Count(t, among(packet)); got != 0 {
		t.Errorf("the injected packet arrived %d times", got)
	}
	stats := d.Events("stats")
	last := stats[len(stats)-1]
	for _, field := range []string{"upcalls", "executed", "foreign", "decode_errors", "missed"} {
		if got := last.Int(t, field); got != 0 {
			t.Errorf("%s is %d, want 0", field, got)
		}
	}
}

func contains(pids []uint32, pid uint32) bool {
	return len(pids) == 1 && pids[0] == pid
}

// TestFeatureFlip: ovs-dpctl beside the daemon changes the datapath's features,
// and the daemon puts them back.
func TestFeatureFlip(t *testing.T) {
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	set := d.Events("features_set")
	if len(set) != 1 || !strings.Contains(set[0].Text("kept"), "vport_pids") {
		t.Fatalf("features_set: %v", set)
	}
	for round := range 2 {
		since := time.Now()
		n.sw.DPCtl(t, "show", n.dpName)
		var e lab.Event
		lab.Need(t, "features that ovs-dpctl flips", func() error {
			if v.info(t).Features == dpif.FeatureUnaligned|dpif.FeatureVportPIDs && len(d.Events("features_restored")) == round {
				time.Sleep(time.Second)
				if len(d.Events("features_restored")) == round {
					return errors.New("ovs-dpctl show changed nothing")
				}
			}
			e = d.Wait(t, since, "features_restored", nil)
			return nil
		})
		if !strings.Contains(e.Text("found"), "dispatch_upcall_per_cpu") || e.Text("kept") != set[0].Text("kept") {
			t.Errorf("features_restored: %v, want kept %s", e.Fields, set[0].Text("kept"))
		}
		if got := v.info(t).Features.String(); got != set[0].Text("kept") {
			t.Errorf("features are %s, want %s", got, set[0].Text("kept"))
		}
		for i := range 30 { // new flows
			f := lab.Frame(t, broadcast, fmt.Sprintf("02:f1:1b:00:%02x:%02x", round, i), 0x88b5, []byte{byte(round), byte(i)})
			send(t, p[i%3], f)
			p[(i+1)%3].Expect(t, waitLimit, among(f))
		}
	}
	stop(t, d)
	if lost := v.info(t).Stats.Lost; lost != 0 {
		t.Errorf("lost %d, want 0: no packet was under way while the features were changed", lost)
	}
}

// TestNetnsOption: the daemon works in the namespace that it is told, not in
// the one it is in.
func TestNetnsOption(t *testing.T) {
	for _, by := range []string{"name", "path"} {
		t.Run(by, func(t *testing.T) {
			n := newQuietNetwork(t, 2)
			where := n.sw.Name
			if by == "path" {
				where = n.sw.Path()
			}
			d := lab.Root(t).StartDaemon(t, n.config(settings{"netns": where}))
			d.Wait(t, time.Time{}, "ready", nil)
			if e := d.Events("starting"); e[0].Text("netns") != where {
				t.Errorf("starting: netns %q, want %q", e[0].Text("netns"), where)
			}
			p := n.sockets(t)
			exchange(t, p[0], p[1])
			// The port poll hears of that namespace as well.
			since := time.Now()
			n.sw.DeleteLink(t, n.hosts[1].port)
			d.Wait(t, since, "port_removed", forPort(n.hosts[1].port))
			stop(t, d)
		})
	}
	t.Run("absent", func(t *testing.T) {
		n := newQuietNetwork(t, 0)
		d := n.sw.StartDaemon(t, n.config(settings{"netns": "no-such-namespace"}))
		if code := d.WaitExit(t); code != 1 {
			t.Errorf("exit code %d, want 1", code)
		}
		if e := d.Events("failed"); len(e) != 1 || !strings.Contains(e[0].Text("error"), "no-such-namespace") {
			t.Errorf("failed: %v, want the namespace named", e)
		}
	})
}

// TestServiceManager follows the notifications of sd_notify(3).
func TestServiceManager(t *testing.T) {
	const hosts = 7
	n := newQuietNetwork(t, hosts)
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	next := func() string {
		t.Helper()
		if err := conn.SetReadDeadline(time.Now().Add(lab.DaemonLimit)); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 4096)
		size, err := conn.Read(buf)
		if err != nil {
			t.Fatalf("notification: %v", err)
		}
		return string(buf[:size])
	}
	n.sw.DPCtl(t, "add-dp", n.dpName)
	n.sw.DPCtl(t, "add-if", n.dpName, n.hosts[3].port)
	d := n.sw.StartDaemon(t, n.config(nil), "NOTIFY_SOCKET="+path)
	got := next()
	// At this moment everything is in place.
	ports := n.view(t).vports(t)
	if !strings.HasPrefix(got, "READY=1\n") || !strings.Contains(got, "STATUS=") {
		t.Errorf("first notification %q, want READY=1 and STATUS", got)
	}
	served := 0
	for _, p := range ports {
		if len(p.UpcallPIDs) == 1 && p.UpcallPIDs[0] != 0 {
			served++
		}
	}
	if len(ports) != hosts+1 || served != hosts+1 {
		t.Errorf("READY=1 came with %d ports, of which %d are served; want %d", len(ports), served, hosts+1)
	}
	if err := d.Stop(t, unix.SIGTERM, lab.DaemonLimit); err != nil {
		t.Error(err)
	}
	if got := next(); !strings.HasPrefix(got, "STOPPING=1") {
		t.Errorf("second notification %q, want STOPPING=1", got)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
}
