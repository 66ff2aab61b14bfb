//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"dpifd/internal/endpoint"
	"dpifd/internal/lab"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// TestTraceIsWhatHappens traces a frame, sends it, and compares.
func TestTraceIsWhatHappens(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 3)
	d := n.run(t, settings{"flows": "{max_idle: 600s}", "log": "{level: debug, stats_interval: 1s}"})
	v := n.view(t)
	p := n.sockets(t)
	const a, b, c = "02:7a:00:00:00:0a", "02:7a:00:00:00:0b", "02:7a:00:00:00:0c"
	for _, tt := range []struct {
		from     int
		dst, src string
		decision string
	}{
		{0, b, a, "unknown_unicast"},
		{1, a, b, "learned_unicast"},
		{0, b, a, "learned_unicast"},
		{2, broadcast, c, "multicast"},
		{0, c, a, "learned_unicast"},
		{1, "33:33:00:00:00:01", b, "multicast"},
		{2, "01:80:c2:00:00:03", c, "reserved_multicast"},
		{0, "02:7a:00:00:00:0d", "01:00:5e:00:00:01", "unknown_unicast"},
		{1, a, a, "same_port"}, // moves a to port 1
		{0, a, c, "learned_unicast"},
	} {
		in := v.portNo(t, n.hosts[tt.from].port)
		// Flush, or the flow of an earlier packet would keep this one in the kernel.
		if err := v.FlushFlows(); err != nil {
			t.Fatal(err)
		}
		var trace endpoint.Trace
		v.unchanged(t, "trace", func() {
			macs := ask[[]endpoint.MAC](t, n, "dump-macs", n.dpName)
			trace = ask[endpoint.Trace](t, n, "trace", n.dpName,
				fmt.Sprintf("in_port(%s),eth(src=%s,dst=%s),eth_type(0x88b5)", n.hosts[tt.from].port, tt.src, tt.dst))
			after := ask[[]endpoint.MAC](t, n, "dump-macs", n.dpName)
			if diff := cmp.Diff(macs, after, cmpopts.IgnoreFields(endpoint.MAC{}, "AgeMS")); diff != "" {
				t.Errorf("trace changed the MAC table (-before +after):\n%s", diff)
			}
		})
		since := time.Now()
		send(t, p[tt.from], frame(t, tt.dst, tt.src))
		eth := fmt.Sprintf("eth(src=%s,dst=%s)", tt.src, tt.dst)
		e := d.Wait(t, since, "upcall", func(e lab.Event) bool {
			return e.Text("port_no") == in.String() && strings.Contains(e.Text("key"), eth)
		})
		if diff := cmp.Diff(happened(e), traced(&trace)); diff != "" || trace.Decision != tt.decision {
			t.Errorf("%s: want decision %s (-happened +traced):\n%s", eth, tt.decision, diff)
		}
		match, _, _ := strings.Cut(strings.TrimPrefix(trace.Match, fmt.Sprintf("in_port(%d),eth(", in)), ")")
		eventually(t, waitLimit, fmt.Sprintf("the flow of the trace, %s, actions %s", trace.Match, trace.Actions),
			func() bool {
				_, ok := v.flows(t)[flow{in, match, trace.Actions}]
				return ok
			})
	}
	stop(t, d)
}

// decision is what is decided about a packet.
type decision struct {
	Decision, Actions string
	Install           bool
}

func traced(tr *endpoint.Trace) decision { return decision{tr.Decision, tr.Actions, tr.Install} }

// happened is the decision in an upcall event.
func happened(e lab.Event) decision {
	return decision{e.Text("decision"), e.Text("actions"), e.Text("install") == "true"}
}

// TestTraceVLANs does the same for frames with and without tags, on ports that accept only some of
// them.
func TestTraceVLANs(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 4)
	vlans := []string{"{access: 10}", "{trunk: [10, 20-29], native: 20}", "{access: 20}", "{}"}
	var ports []string
	for i, h := range n.hosts {
		ports = append(ports, fmt.Sprintf("{name: %s, vlan: %s}", h.port, vlans[i]))
	}
	d := n.run(t, settings{"ports": "[" + strings.Join(ports, ", ") + "]", "flows": "{max_idle: 600s}",
		"log": "{level: debug, stats_interval: 1s}"})
	v := n.view(t)
	p := n.sockets(t)
	const a, b, c = "02:7b:00:00:00:0a", "02:7b:00:00:00:0b", "02:7b:00:00:00:0c"
	decisions := map[string]int{}
	for _, tt := range []struct {
		from     int
		dst, src string
		vid      int // 0 for none
	}{
		{0, broadcast, a, 0}, {1, a, b, 10}, {0, b, a, 0}, {0, b, a, 10}, {1, c, b, 0}, {2, b, c, 0}, {1, c, b, 20},
		{1, c, b, 30}, {3, a, "02:7b:00:00:00:0d", 10}, {3, c, "02:7b:00:00:00:0d", 0}, {1, broadcast, b, 29}, {3, "01:80:c2:00:00:0e", c, 20},
	} {
		if err := v.FlushFlows(); err != nil {
			t.Fatal(err)
		}
		f, eth, rest := frame(t, tt.dst, tt.src), fmt.Sprintf("eth(src=%s,dst=%s)", tt.src, tt.dst), "eth_type(0x88b5)"
		if tt.vid != 0 {
			f = retag(t, f, fmt.Sprint(tt.vid))
			rest = fmt.Sprintf("eth_type(0x8100),vlan(vid=%d,pcp=0),encap(%s)", tt.vid, rest)
		}
		in := v.portNo(t, n.hosts[tt.from].port)
		trace := ask[endpoint.Trace](t, n, "trace", n.dpName, fmt.Sprintf("in_port(%d),%s,%s", in, eth, rest))
		since := time.Now()
		send(t, p[tt.from], f)
		e := d.Wait(t, since, "upcall", func(e lab.Event) bool {
			return e.Text("port_no") == in.String() && strings.Contains(e.Text("key"), eth+","+rest[:len("eth_type(0x")])
		})
		if diff := cmp.Diff(happened(e), traced(&trace)); diff != "" {
			t.Errorf("%s,%s (-happened +traced):\n%s", eth, rest, diff)
		}
		decisions[trace.Decision]++
	}
	t.Logf("decisions: %v", decisions)
	if len(decisions) < 4 {
		t.Errorf("decisions %v, want more different ones", decisions)
	}
	stop(t, d)
}

// TestTraceNotInstalled: a trace names a static flow that would match but is not installed, and
// shows port names with --names.
func TestTraceNotInstalled(t *testing.T) {
	t.Parallel()
	n := newQuietNetwork(t, 2)
	a, b, late := n.hosts[0].port, n.hosts[1].port, lab.Name("late")
	d := n.run(t,
		settings{"flows": static("in_port("+a+"),eth_type(0x0806)", late, "in_port("+b+")", "set(ipv4(ttl=3)),"+a)})
	d.Wait(t, time.Time{}, "static_flow_waiting", nil)
	d.Wait(t, time.Time{}, "static_flow_failed", nil)
	for key, want := range map[string]string{
		"in_port(" + a + "),eth_type(0x0806)": "would match, but is not installed: there is no port " + late,
		"in_port(" + b + ")":                  "that flow is not installed: its packets come up",
	} {
		out := n.sw.Run(t, lab.DaemonPath(t), "trace", n.dpName, key, "--names")
		if !strings.Contains(out, want) ||
			!strings.Contains(out, "\nkey: in_port("+key[len("in_port("):strings.Index(key, ")")]) {
			t.Errorf("trace %s lacks %q:\n%s", key, want, out)
		}
	}
	stop(t, d)
}
