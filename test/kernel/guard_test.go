//go:build lab

package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/genl"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// fakeUpcall builds a well-formed OVS_PACKET_CMD_MISS as the kernel would send it for a datapath.
// Attribute numbers are those of enum ovs_packet_attr, linux/openvswitch.h.
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

// TestInjection: no process, not even of root, can inject an upcall into the daemon's sockets.
func TestInjection(t *testing.T) {
	t.Parallel()
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
	// A socket that is not connected to the kernel accepts it.
	if err := unix.Sendto(attacker, fake, 0, addr); err != nil {
		t.Fatalf("send to a socket of the test's own: %v", err)
	}

	added := d.Events("port_added")
	if len(added) != 3 {
		t.Fatalf("%d port_added, want 3", len(added))
	}
	for _, e := range added {
		if pid := uint32(e.Int(t, "upcall_pid")); (pid == 0) != perCPU ||
			!slices.Equal(v.vports(t)[e.Text("port")].UpcallPIDs, []uint32{pid}) {
			t.Errorf("port_added names PID %d, which is not the port's", pid)
		}
	}
	for _, pid := range v.listeners(t).pids() {
		to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: pid}
		wantErrno(t, fmt.Sprintf("send to upcall socket %d", pid), unix.Sendto(attacker, fake, 0, to), unix.ECONNREFUSED)
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

// TestUpcallPIDRestored: the daemon undoes a change of a port's upcall PID by another program.
func TestUpcallPIDRestored(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	v := n.view(t)
	before := v.listeners(t)
	since := time.Now()
	if perCPU {
		if _, err := v.SetFeatures(v.info(t).Features, []uint32{90210}); err != nil {
			t.Fatal(err)
		}
		d.Wait(t, since, "features_restored", nil)
	} else {
		name := n.hosts[1].port
		if err := v.SetUpcallPID(v.portNo(t, name), 90210); err != nil {
			t.Fatal(err)
		}
		e := d.Wait(t, since, "upcall_pid_restored", forPort(name))
		if got := e.Text("found_pids"); got != "[90210]" {
			t.Errorf("upcall_pid_restored: found_pids %s, want [90210]", got)
		}
	}
	if diff := cmp.Diff(before, v.listeners(t)); diff != "" {
		t.Errorf("upcall PIDs (-want +got):\n%s", diff)
	}
	p := n.sockets(t)
	exchange(t, p[0], p[1])
}

// TestActionUpcall: upcalls of userspace actions in another program's flows are counted as lost, by
// port and cause.
func TestActionUpcall(t *testing.T) {
	t.Parallel()
	const count = 5
	n := newQuietNetwork(t, 2)
	d := n.run(t, nil)
	v := n.view(t)
	p := n.sockets(t)
	port := v.vports(t)[n.hosts[0].port]
	foreign := testFlow(0x3a, port.No)
	foreign.Actions = attrs(func(e *netlink.Encoder) {
		e.Nested(odp.ActionAttrUserspace, func(e *netlink.Encoder) {
			e.Uint32(odp.UserspaceAttrPID, v.listeners(t).of(port.Name))
			e.Attr(odp.UserspaceAttrUserdata, []byte("cookie"))
		})
	})
	if err := v.PutFlow(foreign, dpif.Create); err != nil {
		t.Fatal(err)
	}
	for range count {
		send(t, p[0], frame(t, "02:d7:00:00:3a:00", "02:5c:00:00:00:3a"))
	}
	var lost int64
	for since := (time.Time{}); lost < count; { // the losses may be logged in several events
		e := d.Wait(t, since, "upcalls_lost", forPort(port.Name))
		if e.Text("cause") != "action_upcall" {
			t.Fatalf("upcalls_lost: %v, want cause action_upcall", e.Fields)
		}
		lost, since = e.Int(t, "lost_total"), e.Time.Add(1)
	}
	stop(t, d)
	if got := d.Events("stopped")[0].Int(t, "lost"); got != count || lost != count {
		t.Errorf("lost %d, at the end %d; want %d", lost, got, count)
	}
}

// TestFeatureFlip: ovs-dpctl changes the datapath's features, and the daemon restores them.
func TestFeatureFlip(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	set := d.Events("features_set")
	if len(set) != 1 || !strings.Contains(set[0].Text("kept"), "vport_pids") {
		t.Fatalf("features_set: %v", set)
	}
	kept, flipped := set[0].Text("kept"), needFlip(t, v.info(t).Features).String()
	for round := range 2 {
		since := time.Now()
		n.sw.DPCtl(t, "show", n.dpName)
		e := d.Wait(t, since, "features_restored", nil)
		if e.Text("found") != flipped || e.Text("kept") != kept {
			t.Errorf("features_restored: %v, want found %s, kept %s", e.Fields, flipped, kept)
		}
		if got := v.info(t).Features.String(); got != kept {
			t.Errorf("features are %s, want %s", got, kept)
		}
		for i := range 30 { // new flows
			f := lab.Frame(t, broadcast, fmt.Sprintf("02:f1:1b:00:%02x:%02x", round, i), 0x88b5, []byte{byte(round), byte(i)})
			send(t, p[i%3], f)
			p[(i+1)%3].Expect(t, waitLimit, among(f))
		}
	}
	stop(t, d)
	if lost := v.info(t).Stats.Lost; lost != 0 {
		t.Errorf("lost %d, want 0: no packet was in flight while the features changed", lost)
	}
}
