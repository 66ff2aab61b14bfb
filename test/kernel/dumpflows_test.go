//go:build lab

package kernel_test

import (
	cmplib "cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/dpif"
	"dpifd/internal/lab"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

var usedField = regexp.MustCompile(`, used:([0-9.]+)s`)

// dumpLines returns the sorted lines of a dump, and the times by line. It removes the times and the
// attributes that ovs-dpctl 3.1 cannot name.
func dumpLines(t *testing.T, dump string) ([]string, map[string]float64) {
	t.Helper()
	used := map[string]float64{}
	var lines []string
	for line := range strings.Lines(dump) {
		line = exthdrs.ReplaceAllString(strings.TrimSuffix(line, "\n"), "")
		key := usedField.ReplaceAllString(line, "")
		if m := usedField.FindStringSubmatch(line); m != nil {
			s, err := strconv.ParseFloat(m[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			used[key] = s
		}
		lines = append(lines, key)
	}
	slices.Sort(lines)
	return lines, used
}

// variedFlows creates a datapath with flows of all kinds, some put by ovs-dpctl and some by this
// test, and sends packets through some of them.
func variedFlows(t *testing.T) (*network, *dpif.Datapath) {
	t.Helper()
	n := newNetwork(t, 2, 0)
	dp := newDatapath(t, n.sw, n.dpName)
	for _, h := range n.hosts {
		if _, err := dp.AddVport(h.port, dpif.VportNetdev, 0, 0); err != nil {
			t.Fatal(err)
		}
	}
	put := func(f *dpif.Flow, key, actions string) {
		k, m, err := odp.Text{}.ParseKey(key)
		if err != nil {
			t.Fatal(err)
		}
		if f.Actions, err = (odp.Text{}).ParseActions(actions); err != nil {
			t.Fatal(err)
		}
		f.Key, f.Mask = k, m
		_ = dp.PutFlow(f, dpif.Create) // flows that this kernel rejects are not compared
	}
	// Two hosts reach each other by flows of ovs-dpctl; the TCP flow matches ports and has a UFID.
	for i, f := range [][2]string{{"1", "2"}, {"2", "1"}} {
		for _, key := range []string{"eth_type(0x0806),arp()", "eth_type(0x0800),ipv4(proto=1),icmp()",
			"eth_type(0x86dd),ipv6(frag=no)"} {
			n.sw.DPCtl(t, "add-flow", n.dpName, "in_port("+f[0]+"),eth(),"+key, f[1])
		}
		put(&dpif.Flow{UFID: dpif.UFID{0x01, 0x23, 4: 0x45, 15: byte(i)}, HasUFID: true},
			"in_port("+f[0]+"),eth(),eth_type(0x0800),ipv4(proto=6),tcp(),tcp_flags(0/0)", f[1])
	}
	r := rand.New(rand.NewPCG(7, 26))
	for i, key := range keyTemplates {
		for j := range 3 {
			// In-ports from 3 up, so not those of the hosts.
			key := strings.Replace(fill(r, strings.ReplaceAll(key, "in_port({4})", "in_port(IN)")), "IN",
				fmt.Sprint(3+(i+7*j)%13), 1)
			actions := fill(r, actionTemplates[(3*i+j)%len(actionTemplates)])
			var f dpif.Flow
			if j == 1 {
				f.HasUFID = true
				for b := range f.UFID {
					f.UFID[b] = byte(r.Uint32())
				}
			}
			put(&f, key, actions)
		}
	}
	ping(t, n.hosts[0].NetNS, n.hosts[1].ip4, 3, 100)
	ping(t, n.hosts[0].NetNS, n.hosts[1].ip6, 2, 100)
	stream(t, n.hosts[0].NetNS, n.hosts[1].NetNS, n.hosts[1].ip4, 100_000)
	for _, h := range n.hosts {
		h.SetLink(t, "eth0", false)
	}
	return n, dp
}

// TestDumpFlows compares dump-flows with ovs-dpctl dump-flows, flow by flow.
func TestDumpFlows(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n, _ := variedFlows(t)
	w := newWatcher(t, n.sw, n.dpName)
	for _, tt := range []struct{ ours, theirs []string }{
		{ours: []string{"dump-flows", n.dpName}},
		{ours: []string{"dump-flows", n.dpName, "-m"}},
		{ours: []string{"dump-flows", n.dpName, "--names"}},
		{ours: []string{"dump-flows", n.dpName, "-m", "--names=false"}, theirs: []string{"dump-flows", n.dpName, "-m", "--no-names"}},
	} {
		if tt.theirs == nil {
			tt.theirs = tt.ours
		}
		var first, last string
		w.unchanged("dpifd dump-flows", func() { first = dpifd(t, n.sw, tt.ours...) })
		middle := n.sw.DPCtl(t, tt.theirs...)
		last = dpifd(t, n.sw, tt.ours...)
		ours, before := dumpLines(t, first)
		theirs, then := dumpLines(t, middle)
		again, after := dumpLines(t, last)
		if diff := cmp.Diff(theirs, ours); diff != "" {
			t.Errorf("%v (-ovs-dpctl +dpifd):\n%s", tt.ours, diff)
		}
		if diff := cmp.Diff(ours, again); diff != "" {
			t.Errorf("%v changes without traffic:\n%s", tt.ours, diff)
		}
		for line, used := range then {
			if used < before[line] || used > after[line] || before[line] == 0 {
				t.Errorf("used %vs, then by ovs-dpctl %vs, then %vs: %s", before[line], used, after[line], line)
			}
		}
		flagged := strings.Count(middle, ", flags:")
		t.Logf("%v: %d flows, %d used, %d with TCP flags", tt.ours, len(ours), len(then), flagged)
		least := 60
		if !lab.Strict() {
			least = 30 // older kernels support fewer attributes
		}
		if len(ours) < least || len(then) < 6 || flagged != 2 {
			t.Errorf("too few flows to compare")
		}
	}
}

// TestDumpFlowsFilter compares the flows that filters select.
func TestDumpFlowsFilter(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n, dp := variedFlows(t)
	var all []string
	flows(t, dp, func(f *dpif.Flow) { all = append(all, string(odp.Text{}.AppendKey(nil, f.Key, f.Mask))) })
	port := n.hosts[0].port
	for _, tt := range []struct {
		filter string
		has    func(key string) bool
	}{
		{"in_port(" + port + ")", func(k string) bool { return strings.Contains(k, "in_port(1)") }},
		{"eth_type(0x0806)", func(k string) bool {
			return strings.Contains(k, "eth_type(0x0806)") && !strings.Contains(k, "encap(")
		}},
		{"encap(eth_type(0x0806))", func(k string) bool { return strings.Contains(k, "encap(eth_type(0x0806)") }},
		{"eth_type(0x0800),ipv4(proto=6)", func(k string) bool { return strings.Contains(k, "ipv4(") && strings.Contains(k, "proto=6") }},
		{"in_port(200)", func(string) bool { return false }},
	} {
		want := 0
		for _, key := range all {
			if tt.has(key) {
				want++
			}
		}
		lines := slices.Collect(strings.Lines(dpifd(t, n.sw, "dump-flows", n.dpName, "--filter", tt.filter, "-o", "json")))
		if want == 0 {
			text := fmt.Sprintf("0 of %d flows match; 0 of them wildcard what --filter names\n", len(all))
			if !slices.Equal(lines, []string{text}) {
				t.Errorf("filter %s prints %q, want %q", tt.filter, lines, text)
			}
			continue
		}
		if len(lines) != want {
			t.Errorf("filter %s: %d flows, want %d:\n%s", tt.filter, len(lines), want, strings.Join(lines, ""))
		}
		for _, line := range lines {
			var f struct {
				Key, Actions string
				Packets      *uint64
			}
			if err := json.Unmarshal([]byte(line), &f); err != nil || !tt.has(f.Key) || f.Actions == "" || f.Packets == nil {
				t.Errorf("filter %s: %v in %s", tt.filter, err, line)
			}
		}
	}
	wantFailure(t, n.sw, 2, "--filter in_port(nobody): 1:9: ", "dump-flows", n.dpName, "--filter", "in_port(nobody)")
	wantFailure(t, n.sw, 2, "--filter", "dump-flows", n.dpName, "--filter", "colour(red)")
	wantFailure(t, n.sw, 1, "open datapath dp-none", "dump-flows", "dp-none")
}

// TestDumpFlowsSorted compares the output of --sort and --top with the whole table.
func TestDumpFlowsSorted(t *testing.T) {
	t.Parallel()
	noDaemon(t)
	n, _ := variedFlows(t)
	type flow struct {
		Key            string
		Packets, Bytes uint64
		Unused         *float64 `json:"unused_s"`
	}
	dump := func(args ...string) (list []flow) {
		for line := range strings.Lines(dpifd(t, n.sw, append([]string{"dump-flows", n.dpName, "-o", "json"}, args...)...)) {
			var f flow
			if err := json.Unmarshal([]byte(line), &f); err != nil {
				t.Fatalf("%v in %s", err, line)
			}
			list = append(list, f)
		}
		return list
	}
	all, watch := dump(), lab.StartStopwatch()
	for sort, value := range map[string]func(flow) float64{
		"bytes":   func(f flow) float64 { return float64(f.Bytes) },
		"packets": func(f flow) float64 { return float64(f.Packets) },
		"used": func(f flow) float64 {
			if f.Unused == nil {
				return -1e9
			}
			return -*f.Unused
		},
	} {
		sorted := dump("--sort", sort)
		if len(sorted) != len(all) ||
			!slices.IsSortedFunc(sorted, func(a, b flow) int { return cmplib.Compare(value(b), value(a)) }) {
			t.Errorf("--sort %s: %+v", sort, sorted)
		}
		top := dump("--sort", sort, "--top", "2")
		if len(top) != 2 {
			t.Fatalf("--sort %s --top 2: %+v", sort, top)
		}
		// The kernel derives times from jiffies of up to 10 ms, which are late on a busy host, so
		// flows used at about the same time are in no fixed order.
		i := slices.IndexFunc(sorted, func(f flow) bool { return f.Key == top[0].Key })
		if i < 0 || value(sorted[0])-value(sorted[i]) > 0.1+watch.Stalled().Seconds() {
			t.Errorf("--sort %s --top 2: %+v, want the first two of %+v", sort, top, sorted)
		}
	}
	if top := dump("--top", "1"); len(top) != 1 ||
		top[0].Bytes != slices.MaxFunc(all, func(a, b flow) int { return cmplib.Compare(a.Bytes, b.Bytes) }).Bytes {
		t.Errorf("--top 1: %+v", top)
	}
	// A filter that selects no flow, although some flows match packets that it describes.
	out := dpifd(t, n.sw, "dump-flows", n.dpName, "--filter", "in_port(1),eth(src=02:00:00:00:00:99)")
	if m := regexp.MustCompile(`^0 of (\d+) flows match; (\d+) of them wildcard`).FindStringSubmatch(out); m == nil ||
		m[1] != fmt.Sprint(len(all)) || m[2] == "0" {
		t.Errorf("dump-flows prints %q", out)
	}
}
