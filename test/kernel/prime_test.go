//go:build lab

package kernel_test

import (
	"fmt"
	"strings"
	"testing"

	"dpifd/internal/endpoint"

	"github.com/google/go-cmp/cmp"
)

// TestPrimedFlows runs conversations that begin like ARP: a broadcast asks, one station answers,
// and the first sends to it. With primed flows the third packet matches a flow.
func TestPrimedFlows(t *testing.T) {
	t.Parallel()
	const conversations = 48
	for _, c := range []struct {
		name        string
		on          bool
		least, most uint64 // upcalls
	}{
		// A packet may come before the flow of the previous one is installed: one more upcall.
		{"off", false, 3 * conversations, 3*conversations + conversations/4},
		// Priming starts after eight conversations that show its benefit, and one in 16 checks it
		// again.
		{"on", true, 2 * conversations, 2*conversations + conversations/2 + conversations/16 + 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newQuietNetwork(t, 3)
			d := n.run(t, settings{"flows": fmt.Sprintf("{prime: %t}", c.on)})
			v := n.view(t)
			p := n.sockets(t)
			before := v.info(t).Stats
			for i := range conversations {
				asks, answers := fmt.Sprintf("02:a5:00:00:00:%02x", i), fmt.Sprintf("02:a6:00:00:00:%02x", i)
				sendAndWait := func(from, to int, dst, src string) {
					f := frame(t, dst, src)
					send(t, p[from], f)
					p[to].Expect(t, waitLimit, among(f))
				}
				sendAndWait(0, 1, broadcast, asks)
				sendAndWait(1, 0, asks, answers)
				sendAndWait(0, 1, answers, asks)
				sendAndWait(1, 0, asks, answers)
			}
			after := v.info(t).Stats
			missed := after.Missed - before.Missed
			t.Logf("%d upcalls for %d conversations", missed, conversations)
			if missed < c.least || missed > c.most {
				t.Errorf("%d upcalls, want %d to %d", missed, c.least, c.most)
			}
			// Each upcall saved corresponds to a primed flow.
			stats := ask[endpoint.Stats](t, n, "stats", n.dpName)
			primed, ok := stats.Totals.Get("flows_primed")
			if !ok || !c.on && primed != 0 || primed+int64(missed) < 3*conversations {
				t.Errorf("flows_primed is %d (%t) after %d upcalls", primed, ok, missed)
			}
			checkTwoWays(t, v, n)
			stop(t, d)
		})
	}
}

// checkTwoWays checks that the flows of two stations output to each other's port.
func checkTwoWays(t *testing.T, v view, n *network) {
	t.Helper()
	want := map[string]string{}
	for i := range 2 {
		want[n.hosts[i].port] = v.portNo(t, n.hosts[1-i].port).String()
	}
	for f := range v.flows(t) {
		for i, h := range n.hosts[:2] {
			if f.inPort == v.portNo(t, h.port) && !strings.HasSuffix(f.eth, "dst="+broadcast) {
				if diff := cmp.Diff(want[h.port], f.actions); diff != "" {
					t.Errorf("flow %s of host %d, actions -want +got:\n%s", f.eth, i, diff)
				}
			}
		}
	}
}
