//go:build lab

package kernel_test

import (
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// static formats flows.static from pairs of match and actions.
func static(pairs ...string) string {
	var list []string
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, fmt.Sprintf("{match: %q, actions: %q}", pairs[i], pairs[i+1]))
	}
	return "{max_idle: 1s, static: [" + strings.Join(list, ", ") + "]}"
}

// texts returns the actions of all flows by match, in ODP text with port names.
func (v view) texts(t *testing.T) map[string]string {
	t.Helper()
	names := map[odp.PortNo]string{}
	for name, p := range v.vports(t) {
		names[p.No] = name
	}
	text := odp.Text{PortName: func(no odp.PortNo) string { return names[no] }}
	actions := map[string]string{}
	err := v.Flows(false, func() { clear(actions) }, func(f *dpif.Flow) error {
		match := string(text.AppendKey(nil, f.Key, f.Mask))
		actions[match] = string(text.AppendActions(nil, f.Actions))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return actions
}

// change replaces the actions of the flow to a MAC without the daemon.
func (v view) change(t *testing.T, in odp.PortNo, dst string, out odp.PortNo) {
	t.Helper()
	mac, err := net.ParseMAC(dst)
	if err != nil {
		t.Fatal(err)
	}
	var key, mask, actions netlink.Encoder
	odp.AppendInPort(&key, in)
	odp.AppendEthernet(&key, odp.MAC{}, odp.MAC(mac))
	odp.AppendInPortMask(&mask)
	odp.AppendOutput(&actions, out)
	change := dpif.Flow{Key: key.Bytes(), Mask: mask.Bytes(), Actions: actions.Bytes()}
	err = v.Flows(false, func() {}, func(f *dpif.Flow) error {
		var k odp.Key
		if err := odp.ParseKey(f.Key, &k); err != nil {
			return err
		}
		if k.EthDst == odp.MAC(mac) {
			change.UFID, change.HasUFID = f.UFID, true
		}
		return nil
	})
	if err == nil {
		err = v.PutFlow(&change, dpif.Modify)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// isDrop reports whether actions in ODP text drop: none do, and from Linux 6.7 on one that has a reason.
func isDrop(actions string) bool { return actions == "drop" || strings.HasPrefix(actions, "drop(") }

// having returns the match of the only flow whose match contains all words, "" if there is none.
func having(t *testing.T, actions map[string]string, words ...string) (match string) {
	t.Helper()
	for m := range actions {
		has := true
		for _, w := range words {
			has = has && strings.Contains(m, w)
		}
		if !has {
			continue
		}
		if match != "" {
			t.Fatalf("two flows have %q: %s and %s", words, match, m)
		}
		match = m
	}
	return match
}

// TestStaticPolicy: only packets of static flows pass. ovs-dpctl shows these flows; they do not
// idle out, and are restored when other programs delete or change them; a reload replaces them; a
// flow that needs a missing port is installed when the port comes.
func TestStaticPolicy(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	p := n.sockets(t)
	a, b, c := n.hosts[0].port, n.hosts[1].port, n.hosts[2].port
	late := lab.Name("late")
	const macA, macB = "02:00:5e:00:71:0a", "02:00:5e:00:71:0b"
	pass := []string{
		"in_port(" + a + "),eth(dst=" + macB + ")", b,
		"in_port(" + b + "),eth(src=" + macB + ",dst=" + macA + "),eth_type(0x88b5)", a,
	}
	waiting := []string{"in_port(" + late + "),eth(),eth_type(0x0806),arp(op=1)", a + "," + b}
	d := n.run(t, settings{"policy": "{type: static}", "flows": static(append(pass, waiting...)...)})
	v := n.view(t)
	installed := func(since time.Time, port string) {
		t.Helper()
		d.Wait(t, since, "static_flow_installed", func(e lab.Event) bool {
			return strings.HasPrefix(e.Text("match"), "in_port("+port+")")
		})
	}
	installed(time.Time{}, a)
	installed(time.Time{}, b)
	d.Wait(t, time.Time{}, "static_flow_waiting", func(e lab.Event) bool { return e.Text("port") == late })

	// Packets that they match are forwarded in the kernel; others are dropped.
	before := v.info(t).Stats.Missed
	there, back := frame(t, macB, macA), frame(t, macA, macB)
	send(t, p[0], there)
	send(t, p[1], back)
	p[1].Expect(t, waitLimit, among(there))
	p[0].Expect(t, waitLimit, among(back))
	if got := v.info(t).Stats.Missed; got != before {
		t.Errorf("%d packets of static flows caused upcalls", got-before)
	}
	// Frames that match no static flow: the first of each kind causes an upcall, the next ones
	// match a drop flow.
	others := [][]byte{frame(t, broadcast, macA), frame(t, macA, macA), frame(t, macB, macB)}
	for range 3 {
		send(t, p[0], others[0], others[1])
		send(t, p[1], others[2])
		send(t, p[2], others...)
		eventually(t, waitLimit, "flows that drop", func() bool {
			count := 0
			for _, do := range v.texts(t) {
				if isDrop(do) {
					count++
				}
			}
			return count >= 3
		})
	}
	again := frame(t, macB, macA)
	send(t, p[0], again)
	p[1].Expect(t, waitLimit, among(again))
	for i := range p {
		if got := p[i].Count(t, among(others...)); got != 0 {
			t.Errorf("%d frames that no static flow matches arrived at host %d", got, i)
		}
	}

	// When idle, the other flows are removed and the static flows stay.
	eventually(t, waitLimit, "idle flows are gone", func() bool { return len(v.texts(t)) == 2 })
	shown := n.sw.DPCtl(t, "dump-flows", n.dpName)
	if !strings.Contains(shown, "dst="+macB) || !strings.Contains(shown, "dst="+macA+"),eth_type(0x88b5)") ||
		strings.Count(shown, "in_port") != 2 {
		t.Errorf("ovs-dpctl shows\n%s", shown)
	}

	// Other programs delete the flows, then change them.
	since := time.Now()
	n.sw.DPCtl(t, "del-flows", n.dpName)
	d.Wait(t, since, "static_flow_restored", func(e lab.Event) bool { return e.Text("cause") == "deleted" })
	installed(since, a)
	installed(since, b)
	match := having(t, v.texts(t), "dst="+macB)
	since = time.Now()
	v.change(t, v.portNo(t, a), macB, v.portNo(t, c))
	d.Wait(t, since, "static_flow_restored", func(e lab.Event) bool { return e.Text("cause") == "changed" })
	eventually(t, waitLimit, "the flow's actions are restored", func() bool {
		return v.texts(t)[match] == b
	})

	// A port is added and removed.
	since = time.Now()
	lab.Veth(t, lab.End{NS: n.sw, Name: late}, lab.End{NS: n.sw, Name: lab.Name("peer")})
	n.sw.DPCtl(t, "add-if", n.dpName, late)
	installed(since, late)
	since = time.Now()
	n.sw.DPCtl(t, "del-if", n.dpName, late)
	d.Wait(t, since, "static_flow_removed", nil)
	d.Wait(t, since, "static_flow_waiting", nil)

	// A reload removes one flow, changes one and adds one.
	since = reload(t, d,
		n.config(settings{"policy": "{type: static}", "flows": static(pass[0], c, "in_port("+c+"),eth()", a)}))
	installed(since, c)
	d.Wait(t, since, "static_flow_removed", func(e lab.Event) bool {
		return strings.HasPrefix(e.Text("match"), "in_port("+b+")")
	})
	eventually(t, waitLimit, "the flow has the actions of the file", func() bool {
		actions := v.texts(t)
		return actions[having(t, actions, "dst="+macB)] == c
	})
	d.Wait(t, time.Now(), "stats", func(e lab.Event) bool { return e.Text("flows_static") == "2" })
	stop(t, d)
	if got := d.Events("static_flow_failed"); len(got) > 0 {
		t.Errorf("refused: %v", got)
	}
}

// TestStaticFlowsStay: a start leaves the datapath's static flows untouched, even while a
// configured port is missing.
func TestStaticFlowsStay(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	p := n.sockets(t)
	a, b := n.hosts[0].port, n.hosts[1].port
	s := settings{
		"policy": "{type: static}", "flows": static("in_port("+a+")", b), "ports": lab.Ports(a, b, lab.Name("late")),
	}
	for i := range 3 {
		d := n.run(t, s)
		d.Wait(t, time.Time{}, "static_flow_installed", nil)
		f := frame(t, broadcast, "02:00:5e:00:71:0c")
		send(t, p[0], f)
		p[1].Expect(t, waitLimit, among(f))
		// A recreated flow would have counted one packet only.
		var packets uint64
		err := n.view(t).Flows(false, func() { packets = 0 }, func(f *dpif.Flow) error {
			if len(f.Actions) > 0 {
				packets += f.Packets
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if want := uint64(i + 1); packets < want {
			t.Errorf("the flow has counted %d packets after start %d, want %d", packets, i, want)
		}
		stop(t, d)
	}
}

// TestStaticNotFromUnlisted: a static flow without an in-port does not match packets of a vport
// without an entry, if such vports carry no traffic.
func TestStaticNotFromUnlisted(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	p := n.sockets(t)
	a, b, c := n.hosts[0].port, n.hosts[1].port, n.hosts[2].port
	d := n.run(t, settings{
		"policy": "{type: static}", "flows": static("eth_type(0x88b5)", b),
		"ports": "[{name: " + a + "}, {name: " + b + ", isolated: true}]",
	})
	d.Wait(t, time.Time{}, "static_flow_installed", nil)
	since := time.Now()
	n.sw.DPCtl(t, "add-if", n.dpName, c)
	d.Wait(t, since, "port_unlisted", func(e lab.Event) bool { return e.Text("port") == c })
	unlisted, listed := frame(t, broadcast, "02:00:5e:00:71:0d"), frame(t, broadcast, "02:00:5e:00:71:0e")
	send(t, p[2], unlisted)
	v := n.view(t)
	eventually(t, waitLimit, "a flow that drops what the unlisted port sends", func() bool {
		for match, do := range v.texts(t) {
			if isDrop(do) && strings.Contains(match, "in_port("+c+")") {
				return true
			}
		}
		return false
	})
	send(t, p[0], listed)
	p[1].Expect(t, waitLimit, among(listed))
	if got := p[1].Count(t, among(unlisted)); got != 0 {
		t.Errorf("%d frames of the unlisted port arrived", got)
	}
	stop(t, d)
}

// TestStaticFlowsOverLearning adds static flows to a learning switch that has flows already, and
// checks that learned flows can exist at the same time: the kernel has no overlapping flows,
// accepts all masks, and forwards each packet as configured.
func TestStaticFlowsOverLearning(t *testing.T) {
	t.Parallel()
	n := newNetwork(t, 3, 0)
	a, b, c := n.hosts[0], n.hosts[1], n.hosts[2]
	d := n.run(t, settings{"flows": "{max_idle: 60s}"})
	v := n.view(t)
	reachable := func(h host, addr string) bool {
		_, received := h.Ping(t, addr, 3)
		return received > 0
	}
	pairs := func() (ok int) {
		for _, from := range n.hosts {
			for _, to := range n.hosts {
				if from.ip4 != to.ip4 && reachable(from, to.ip4) {
					ok++
				}
				if from.ip4 != to.ip4 && reachable(from, to.ip6) {
					ok++
				}
			}
		}
		return ok
	}
	if got := pairs(); got != 12 {
		t.Fatalf("%d of 12 paths work without static flows", got)
	}
	// Drop ICMP from a to b; send ARP of c to a only.
	since := reload(t, d, n.config(settings{"flows": static(
		"in_port("+a.port+"),eth(),eth_type(0x0800),ipv4(dst="+b.ip4+",proto=1),icmp()", "drop",
		"in_port("+c.port+"),eth(),eth_type(0x0806),arp()", a.port,
		"eth(),eth_type(0x86dd),ipv6(dst="+c.ip6+",proto=58,frag=no),icmpv6(type=128)", "drop",
	)}))
	for range 3 {
		d.Wait(t, since, "static_flow_installed", nil)
	}
	eventually(t, waitLimit, "all three are installed", func() bool { return len(d.Events("static_flow_installed")) == 3 })
	for range 2 {
		for _, h := range n.hosts {
			h.Run(t, "ip", "neigh", "flush", "all")
		}
		// In parallel, since each ping that fails waits for its timeout.
		var pings sync.WaitGroup
		for _, way := range []struct {
			from host
			to   string
			want bool
		}{
			{a, b.ip4, false}, {b, a.ip4, false}, {a, c.ip4, true}, {b, c.ip4, false}, {c, a.ip4, true}, {c, b.ip4, false},
			{a, b.ip6, true}, {b, a.ip6, true}, {a, c.ip6, false}, {b, c.ip6, false}, {c, a.ip6, true}, {c, b.ip6, true},
		} {
			pings.Go(func() {
				if got := reachable(way.from, way.to); got != way.want {
					t.Errorf("from %s to %s: reached %v, want %v", way.from.port, way.to, got, way.want)
				}
			})
		}
		pings.Wait()
		v.disjoint(t)
	}
	stop(t, d)
	if got := d.Events("static_flow_failed"); len(got) > 0 {
		t.Errorf("refused: %v", got)
	}
	if got := d.Events("stats"); got[len(got)-1].Text("flows_refused") != "0" ||
		got[len(got)-1].Text("sweeps_refused") != "0" {
		t.Errorf("the kernel refused flows: %v", got[len(got)-1])
	}
}

// disjoint checks that no two flows of the datapath overlap.
func (v view) disjoint(t *testing.T) {
	t.Helper()
	type flow struct {
		key, mask odp.Packed
		text      string
	}
	var all []flow
	err := v.Flows(false, func() { all = nil }, func(f *dpif.Flow) error {
		g := flow{text: string(odp.Text{}.AppendKey(nil, f.Key, f.Mask))}
		_, err := g.mask.PackMask(f.Mask)
		if err == nil {
			err = g.key.Pack(f.Key)
		}
		all = append(all, g)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for i := range all {
		for j := range i {
			if p, q := &all[i], &all[j]; odp.Overlap(&p.key, &p.mask, &q.key, &q.mask) {
				t.Errorf("flows overlap: %s and %s", p.text, q.text)
			}
		}
	}
}
