//go:build lab

package kernel_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/lab"
	"dpifd/internal/odp"
)

// TestTunnelsByKey: of the packets that arrive through one device, each belongs to the tunnel with
// its key and addresses, or to none. Isolated tunnels do not send to each other.
func TestTunnelsByKey(t *testing.T) {
	t.Parallel()
	needTunnel(t, "vxlan", false)
	n := newQuietNetwork(t, 1)
	h, peer := n.hosts[0], lab.NewNetNS(t, "peer")
	connect(t, n.sw, peer)
	const stranger = 9
	eyes := map[int]*lab.Packet{}
	for _, vni := range []int{1, 2, 3, stranger} {
		name := fmt.Sprintf("tun%d", vni)
		peer.Run(t, "/usr/sbin/ip", "link", "add", name, "up", "type", "vxlan", "id", fmt.Sprint(vni), "remote", sites[0].ip4,
			"dstport", "4789")
		eyes[vni] = peer.OpenPacket(t, name)
	}
	ports := func(settings string) string {
		return list("{name: "+h.port+"}",
			strings.TrimSuffix(tunnel("one", "vxlan", "remote: 192.0.2.2, key: 1"), "}")+settings+"}",
			strings.TrimSuffix(tunnel("two", "vxlan", "remote: 192.0.2.2, key: 2"), "}")+settings+"}",
			tunnel("three", "vxlan", "remote: 192.0.2.2, local: 192.0.2.1, key: 3"))
	}
	d := n.run(t, settings{"ports": ports(""), "flows": "{max_idle: 60s}"})
	host := h.OpenPacket(t, "eth0")

	const mac = "02:44:00:00:00:0"
	reaches := func(from int, want ...int) {
		t.Helper()
		f := fitting(t, broadcast, mac+fmt.Sprint(from))
		send(t, eyes[from], f)
		for _, to := range append([]int{0}, want...) {
			eye := eyes[to]
			if to == 0 {
				eye = host
			}
			eye.Expect(t, waitLimit, among(f))
		}
		for to, eye := range eyes {
			if !slices.Contains(want, to) && eye.Count(t, among(f)) != 0 {
				t.Errorf("a broadcast out of tunnel %d went into tunnel %d", from, to)
			}
		}
	}
	reaches(1, 2, 3)
	reaches(2, 1, 3)
	reaches(3, 1, 2)

	// A station behind a tunnel is reached through that tunnel only.
	f := fitting(t, mac+"2", "02:44:00:00:00:aa")
	send(t, host, f)
	eyes[2].Expect(t, waitLimit, among(f))
	reply := fitting(t, "02:44:00:00:00:aa", mac+"2")
	send(t, eyes[2], reply)
	host.Expect(t, waitLimit, among(reply))
	for _, vni := range []int{1, 3, stranger} {
		if eyes[vni].Count(t, among(f, reply)) != 0 {
			t.Errorf("a frame for a station behind tunnel 2 went into tunnel %d", vni)
		}
	}
	behind := func(mac string) string {
		for _, m := range ask[[]endpoint.MAC](t, n, "dump-macs", n.dpName) {
			if m.MAC == mac {
				return m.Port
			}
		}
		return ""
	}
	if got := behind(mac + "2"); got != "two" {
		t.Errorf("dump-macs has the station on port %q, want two", got)
	}
	// The station moves to another tunnel of the same device.
	moved := fitting(t, broadcast, mac+"2")
	send(t, eyes[1], moved)
	host.Expect(t, waitLimit, among(moved))
	eventually(t, waitLimit, "the station is found behind tunnel 1", func() bool {
		f = fitting(t, mac+"2", "02:44:00:00:00:aa")
		send(t, host, f)
		all := fitting(t, broadcast, "02:44:00:00:00:aa")
		send(t, host, all)
		found := false
		eyes[1].Expect(t, waitLimit, func(got []byte) bool {
			found = found || string(got) == string(f)
			return string(got) == string(all)
		})
		return found
	})

	// A packet with an unknown key is dropped, in the kernel after the first one.
	bad := fitting(t, broadcast, mac+"9")
	send(t, eyes[stranger], bad)
	v := n.view(t)
	device := v.portNo(t, "vxlan_sys_4789")
	eventually(t, waitLimit, "a flow drops what has another key", func() bool {
		return slices.ContainsFunc(tunnelFlows(t, v, device), func(s string) bool {
			key, actions, _ := strings.Cut(s, " actions:")
			return strings.Contains(key, "tun_id=0x9,") && isDrop(actions)
		})
	})
	if host.Count(t, among(bad)) != 0 {
		t.Error("a packet of no tunnel was forwarded")
	}

	since := reload(t, d, n.config(settings{"ports": ports(", isolated: true"), "flows": "{max_idle: 60s}"}))
	d.Wait(t, since, "reloaded", nil)
	var flows []string
	eventually(t, waitLimit, "no flow sends from tunnel 1 to 2", func() bool {
		flows = tunnelFlows(t, v, device)
		return !slices.ContainsFunc(flows, func(s string) bool {
			from, to, _ := strings.Cut(s, "actions:")
			return strings.Contains(from, "tun_id=0x1,") && strings.Contains(to, "tun_id=0x2,")
		})
	})
	reaches(1, 3)
	reaches(2, 3)
	reaches(3, 1, 2)

	// When an awaited MAC is learned, all flows are decided again. Only the flow to it changes, and
	// perhaps the one to the station that has just moved. If the flows read from the kernel were
	// compared wrongly, all of them, at least five, would change.
	before := d.Wait(t, time.Now(), "stats", nil)
	send(t, host, fitting(t, "02:44:00:00:00:bb", "02:44:00:00:00:cc"), fitting(t, broadcast, "02:44:00:00:00:bb"))
	after := d.Wait(t, time.Now(), "stats", func(e lab.Event) bool {
		return e.Int(t, "revalidator_cycles") > before.Int(t, "revalidator_cycles")
	})
	if got := after.Int(t, "flows_corrected") - before.Int(t, "flows_corrected"); got > 2 {
		t.Errorf("%d flows were corrected though two decisions changed at most", got)
	}
	stop(t, d)
}

// fitting is a frame that goes through a tunnel over Ethernet.
func fitting(t *testing.T, dst, src string) []byte {
	t.Helper()
	for {
		if f := frame(t, dst, src); len(f) <= 1400 {
			return f
		}
	}
}

// tunnelFlows returns the flows of a device in ODP text.
func tunnelFlows(t *testing.T, v view, device odp.PortNo) []string {
	t.Helper()
	var all []string
	err := v.Flows(false, func() { all = nil }, func(f *dpif.Flow) error {
		if in, err := odp.InPort(f.Key); err != nil || in != device {
			return err
		}
		text := odp.Text{}
		all = append(all, string(text.AppendKey(nil, f.Key, nil))+" actions:"+string(text.AppendActions(nil, f.Actions)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}
