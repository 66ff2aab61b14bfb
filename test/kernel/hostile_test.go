//go:build lab

package kernel_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"dpifd/internal/lab"
	"dpifd/internal/netlink"

	"golang.org/x/sys/unix"
)

// ipv4 puts an IPv4 header of 20 bytes before payload, with the right length and no checksum.
func ipv4(protocol byte, payload ...byte) []byte {
	h := make([]byte, 20, 20+len(payload))
	h[0], h[8], h[9] = 0x45, 64, protocol
	binary.BigEndian.PutUint16(h[2:], uint16(20+len(payload)))
	copy(h[12:], []byte{192, 0, 2, 1, 192, 0, 2, 2})
	return append(h, payload...)
}

// ipv6 puts an IPv6 header before payload.
func ipv6(next byte, payload ...byte) []byte {
	h := make([]byte, 40, 40+len(payload))
	h[0], h[6], h[7] = 0x60, next, 64
	binary.BigEndian.PutUint16(h[4:], uint16(len(payload)))
	h[8], h[24], h[23], h[39] = 0xfe, 0xfe, 1, 2
	return append(h, payload...)
}

// altered returns b with bytes replaced.
func altered(b []byte, at int, with ...byte) []byte {
	b = slices.Clone(b)
	copy(b[at:], with)
	return b
}

// prefixes returns all prefixes of b, from the empty one to the whole.
func prefixes(b []byte) (all [][]byte) {
	for i := range len(b) + 1 {
		all = append(all, b[:i])
	}
	return all
}

// hostilePayloads are the bytes after the addresses of frames, by kind.
func hostilePayloads() []struct {
	kind string
	all  [][]byte
} {
	typed := func(etherType uint16, payloads ...[]byte) (all [][]byte) {
		for _, p := range payloads {
			all = append(all, append(binary.BigEndian.AppendUint16(nil, etherType), p...))
		}
		return all
	}
	tcp := altered(make([]byte, 20), 12, 0x50, 0x02)
	// A neighbour advertisement with an option of length 0.
	nd := append(altered(make([]byte, 24), 0, 136), 2, 0, 1, 2, 3, 4, 5, 6)
	hopByHop := []byte{}
	for range 40 {
		hopByHop = append(hopByHop, 0, 0, 1, 4, 0, 0, 0, 0) // the next header is the same
	}
	tags := func(n int, inner ...byte) (b []byte) {
		for i := range n {
			b = append(b, 0x81, 0, byte(i)<<5, byte(i+1))
		}
		return append(b, inner...)
	}
	var badIHL, badOffset [][]byte
	for i := range byte(16) {
		badIHL = append(badIHL, altered(ipv4(6, tcp...), 0, 0x40|i))
		badOffset = append(badOffset, ipv4(6, altered(tcp, 12, i<<4)...))
	}
	return []struct {
		kind string
		all  [][]byte
	}{
		{"runt", typed(0x88b5, prefixes(make([]byte, 46))...)},
		{"length field", typed(0x05dc, prefixes([]byte{0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45})...)},
		{"VLAN tags", [][]byte{tags(1), tags(1, 8, 0), tags(2), tags(3, 0x88, 0xb5), tags(3, 8, 0), tags(8, 0x88, 0xb5),
			{0x81, 0}, {0x81, 0, 1}, {0x88, 0xa8, 0x0f, 0xff, 0x81, 0}, tags(3, 0x81), tags(2, append([]byte{8, 0}, ipv4(17)...)...)}},
		{"IPv4 cut short", typed(0x0800, prefixes(ipv4(6))[:20]...)},
		{"IPv4 header length", typed(0x0800, badIHL...)},
		{"IPv4 wrong", typed(0x0800, altered(ipv4(17, 1, 2), 0, 0x65), altered(ipv4(6, tcp...), 2, 0xff, 0xff), altered(ipv4(6, tcp...), 2, 0, 3),
			altered(ipv4(6, tcp...), 6, 0x20, 0), altered(ipv4(6, tcp...), 6, 0, 7))},
		{"TCP cut short", typed(0x0800, func() (all [][]byte) {
			for _, p := range prefixes(tcp) {
				all = append(all, ipv4(6, p...))
			}
			return all
		}()...)},
		{"TCP offset", typed(0x0800, badOffset...)},
		{"UDP, ICMP, SCTP cut short", typed(0x0800, ipv4(17), ipv4(17, 1, 2, 3), ipv4(1), ipv4(1, 8), ipv4(132, 1, 2, 3, 4, 5))},
		{"IPv6 cut short", typed(0x86dd, prefixes(ipv6(6))[:40]...)},
		{"IPv6 payload", typed(0x86dd, ipv6(6), ipv6(6, tcp[:13]...), ipv6(17, 1), ipv6(58), ipv6(58, nd...), ipv6(58, altered(nd, 25, 200)...),
			ipv6(0, hopByHop...), ipv6(0, 6, 255, 1, 4), ipv6(44, 6), ipv6(44, 6, 0, 0, 9, 1, 2, 3, 4),
			altered(ipv6(6, tcp...), 4, 0xff, 0xff))},
		{"ARP", typed(0x0806, prefixes(append([]byte{0, 1, 8, 0, 6, 4, 0, 1}, make([]byte, 20)...))...)},
		{"MPLS, NSH", append(typed(0x8847, nil, []byte{0, 1}, make([]byte, 4), make([]byte, 400), []byte{0, 0, 0x11, 64}),
			typed(0x894f, nil, []byte{0, 1}, []byte{0, 0x7f, 1, 3, 0, 0, 1, 0xff}, make([]byte, 8))...)},
		{"jumbo", typed(0x88b5, make([]byte, 9000), make([]byte, 40_000), make([]byte, 65_531-14), make([]byte, 65_535))},
	}
}

// TestHostileFrames: no bytes on the wire harm the daemon, and each packet that causes an upcall is
// forwarded unchanged or counted.
func TestHostileFrames(t *testing.T) {
	t.Parallel()
	n := build(t, 3, 65_535, true)
	d := n.run(t, settings{"policy": "{type: learning, mac_limit: 20000}", "flows": "{max_idle: 60s}"})
	// With dispatch by CPU only upcalls of one CPU keep their order.
	if err := stayOnCPU(0); err != nil {
		t.Fatal(err)
	}
	v := n.view(t)
	p := n.sockets(t)
	addresses := []byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02, 0xbd, 0, 0, 0, 0}
	count := uint32(0)
	// fence sends a good frame after all others and returns how many frames of want arrived before
	// it.
	fence := func(want map[string]bool) (arrived int) {
		// It must cause an upcall like the others: a frame that stays in the kernel overtakes them.
		count++
		good := frame(t, broadcast, fmt.Sprintf("02:60:0d:00:%02x:%02x", count>>8&0xff, count&0xff))
		send(t, p[0], good)
		p[1].Expect(t, waitLimit, func(f []byte) bool {
			if want[string(f)] {
				arrived++
			}
			return among(good)(f)
		})
		return arrived
	}
	gone := 0
	for _, h := range hostilePayloads() {
		before := v.info(t).Stats
		want := map[string]bool{}
		refused := 0
		for _, payload := range h.all {
			count++
			binary.BigEndian.PutUint32(addresses[8:], count)
			f := append(slices.Clone(addresses), payload...)
			switch err := p[0].Send(f); {
			case err == nil:
				want[string(f)] = true
			case errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EMSGSIZE):
				refused++ // by the sender's kernel
			default:
				t.Errorf("%s: %v", h.kind, err)
			}
		}
		arrived := fence(want)
		after := v.info(t).Stats
		missed := int(after.Missed-before.Missed) - 1
		gone += missed - int(after.Lost-before.Lost) - arrived
		t.Logf("%s: %d sent, %d refused; %d missed, %d lost, %d arrived", h.kind, len(want), refused, missed,
			after.Lost-before.Lost, arrived)
	}

	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 1))
	random := func(b []byte) {
		for i := range b {
			b[i] = byte(r.Uint32())
		}
	}
	types := []uint16{0x0800, 0x86dd, 0x0806, 0x8100, 0x88a8, 0x8847, 0x894f, 0x8863, 0x88f7, 0x0100}
	for range 3000 {
		f := make([]byte, 14+r.IntN(200))
		random(f)
		if r.IntN(4) > 0 {
			binary.BigEndian.PutUint16(f[12:], types[r.IntN(len(types))])
		}
		if len(f) > 15 && f[12] == 8 && f[13] == 0 && r.IntN(2) == 0 {
			f[14] = 0x45
		}
		if err := p[0].Send(f); err != nil && !errors.Is(err, unix.EINVAL) {
			t.Fatalf("seed %d: %v", seed, err)
		}
	}
	p[1].Count(t, func([]byte) bool { return false })
	fence(nil)
	exchange(t, p[1], p[2])
	exchange(t, p[0], p[2])
	stop(t, d)
	v.explained(t, d)
	all := d.Events("stats")
	last := all[len(all)-1]
	t.Logf("seed %d: upcalls %s, decode_errors %s, execute_refused %s, flows_refused %s, dropped %s, jumbo %s",
		seed, last.Text("upcalls"), last.Text("decode_errors"),
		last.Text("execute_refused"), last.Text("flows_refused"), last.Text("dropped"), last.Text("jumbo"))
	// A packet of 65,535 bytes does not fit in a request together with its actions; that counts as
	// a policy error.
	if gone < 0 || int64(gone) > last.Int(t, "execute_refused")+last.Int(t, "policy_errors") {
		t.Errorf("%d frames caused upcalls and did not arrive; the kernel refused to forward %s, the policy's errors are %s", gone,
			last.Text("execute_refused"), last.Text("policy_errors"))
	}
	got, want := last.Int(t, "executed")+last.Int(t, "dropped")+last.Int(t, "policy_errors"), last.Int(t, "upcalls")
	if got != want {
		t.Errorf("%s upcalls, %d were executed, dropped or refused by the policy", last.Text("upcalls"), got)
	}
}

// asNobody calls fn on a thread without privileges, which ends after it.
func asNobody(fn func() error) error {
	const nobody = 65534
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		// Raw system calls change this thread only; the wrappers change all threads.
		if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			done <- os.NewSyscallError("setresuid", errno)
			return
		}
		done <- fn()
	}()
	return <-done
}

// TestForeignMessages: messages of other processes to any of the daemon's port ids are refused;
// messages that root multicasts to the daemon's groups are counted and ignored.
func TestForeignMessages(t *testing.T) {
	t.Parallel()
	const rounds = 50
	n := newQuietNetwork(t, 2)
	d := n.run(t,
		settings{"ports": fmt.Sprintf("[{name: %s}, {name: %s}, {name: absent7}]", n.hosts[0].port, n.hosts[1].port)})
	v := n.view(t)
	p := n.sockets(t)
	exchange(t, p[0], p[1])
	_, fam := dial(t, n.sw)
	packet := frame(t, broadcast, "02:ba:d0:00:00:02")
	upcall := fakeUpcall(fam, v.Index(), key(v.portNo(t, n.hosts[0].port), [6]byte(packet[6:12]), [6]byte(packet[:6])),
		packet)
	var link netlink.Encoder
	link.Begin(unix.RTM_NEWLINK, 0)
	link.Raw(make([]byte, unix.SizeofIfInfomsg)...)
	link.String(unix.IFLA_IFNAME, "absent7")
	link.End()
	var done netlink.Encoder
	done.Begin(unix.NLMSG_DONE, unix.NLM_F_MULTI)
	done.RawUint32(0)
	done.End()
	messages := [][]byte{upcall, link.Bytes(), done.Bytes(), altered(upcall, 0, 0xff, 0xff, 0xff, 0x7f), upcall[:16],
		{1, 2, 3}, make([]byte, 70_000)}

	open := func(protocol int) int {
		fd := -1
		err := n.sw.Do(func() (err error) {
			fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Close(fd) })
		return fd
	}
	attackers := map[int]int{unix.NETLINK_GENERIC: open(unix.NETLINK_GENERIC),
		unix.NETLINK_ROUTE: open(unix.NETLINK_ROUTE)}
	sockets := daemonSockets(t, d)
	if len(sockets) < 8 {
		t.Errorf("the daemon has %d netlink sockets, want 3 of ports, 2 notifiers and 3 for requests at least", len(sockets))
	}
	for _, s := range sockets {
		to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Pid: s.portID}
		for i, m := range messages {
			what := fmt.Sprintf("message %d to port id %d of protocol %d", i, s.portID, s.protocol)
			wantErrno(t, what+" from root", unix.Sendto(attackers[s.protocol], m, 0, to), unix.ECONNREFUSED)
			wantErrno(t, what+" from nobody", asNobody(func() error { return unix.Sendto(attackers[s.protocol], m, 0, to) }),
				unix.EPERM)
		}
	}

	sent := 0
	for _, group := range []struct {
		protocol int
		number   uint32
	}{{unix.NETLINK_GENERIC, fam.Vport.Groups["ovs_vport"]}, {unix.NETLINK_GENERIC, fam.Datapath.Groups["ovs_datapath"]},
		{unix.NETLINK_ROUTE, unix.RTNLGRP_LINK}} {
		to := &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1 << (group.number - 1)}
		for range rounds {
			for _, m := range messages[:6] {
				// The kernel receives it too, and ignores messages that are not requests.
				if err := unix.Sendto(attackers[group.protocol], m, 0, to); err != nil {
					t.Fatal(err)
				}
				sent++
			}
		}
		wantErrno(t, fmt.Sprintf("multicast to group %d from nobody", group.number),
			asNobody(func() error { return unix.Sendto(attackers[group.protocol], upcall, 0, to) }), unix.EPERM)
	}
	since := time.Now()
	e := d.Wait(t, since, "stats", func(e lab.Event) bool { return e.Int(t, "foreign") >= int64(sent) })
	if got := e.Int(t, "foreign"); got != int64(sent) {
		t.Errorf("%d foreign messages counted, %d sent", got, sent)
	}
	exchange(t, p[1], p[0])
	stop(t, d)
	if got := p[1].Count(t, among(packet)); got != 0 {
		t.Errorf("the injected packet arrived %d times", got)
	}
	for _, name := range []string{"notifier_overflow", "features_restored", "upcall_pid_restored", "revalidator_failed",
		"request_overflow"} {
		if got := d.Events(name); len(got) != 0 {
			t.Errorf("%d events %s", len(got), name)
		}
	}
	v.explained(t, d)
}
