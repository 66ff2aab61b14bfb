package overview

import (
	"errors"
	"strings"
	"testing"
	"time"

	"dpifd/internal/config"
	"dpifd/internal/dpif"
	"dpifd/internal/endpoint"
	"dpifd/internal/inspect"
	"dpifd/internal/metric"
	"dpifd/internal/odp"

	"github.com/google/go-cmp/cmp"
)

func sample(t *testing.T, seconds int, scale uint64) *Sample {
	t.Helper()
	cfg, err := config.Parse("test",
		[]byte("ports: [{name: a, vlan: {access: 10}}, {name: b, vlan: {trunk: [20-29, 40], native: 7}}, {name: c}]"))
	if err != nil {
		t.Fatal(err)
	}
	port := func(no int, name, link string, packets uint64) inspect.Port {
		return inspect.Port{No: odp.PortNo(no), Name: name, Type: "netdev", Link: link,
			Stats: dpif.VportStats{RxPackets: packets, RxBytes: 100 * packets, TxDropped: 1, RxErrors: 2}}
	}
	return &Sample{At: time.Unix(int64(seconds), 0), Config: cfg, MACs: map[string]int{"a": 3},
		Kernel: inspect.Datapath{Name: "dp0", Stats: dpif.DatapathStats{Hit: 990 * scale, Missed: 10 * scale, Flows: 7, Masks: 2},
			Ports: []inspect.Port{port(1, "a", "up", 1000*scale), port(2, "b", "no carrier", 4000*scale), port(9, "x", "", 0)}},
		Stats: &endpoint.Stats{Totals: metric.Values{{Name: "flow_limit", Value: 7}, {Name: "macs", Value: 3}, {Name: "uptime_s", Value: 90061}},
			Losses: []endpoint.Loss{{Port: "a", Cause: "shed", Lost: 5 * scale}}}}
}

func TestOverview(t *testing.T) {
	o := New(sample(t, 100, 1), sample(t, 102, 3))
	o.Sort(ByRx)
	want := `dp0  policy learning  up 1d1h  flows 7 of 7  masks 2  MACs 3
packets 1k/s  upcalls 10/s  in the kernel 99.0%  lost 0/s (0 in all)
problem: a lost 10 packets since the previous sample (dpifd stats has the causes)
problem: b has no carrier
problem: c is configured and not attached
problem: the flow table is full: 7 of 7 flows

NO  PORT  TYPE    VLAN                    LINK        MACS  RX/s  TX/s  RX bit/s  TX bit/s  DROPPED  LOST
2   b     netdev  trunk 20-29,40 native 7  no carrier  0     4k    0     3.2M      0         3        0
1   a     netdev  access 10               up          3     1k    0     800k      0         3        15
9   x     netdev  -                       -           0     0     0     0         0         3        0
`
	// Compare fields, not the column widths of tabwriter.
	fields := func(s string) (lines []string) {
		for line := range strings.Lines(s) {
			lines = append(lines, strings.Join(strings.Fields(line), " "))
		}
		return lines
	}
	if diff := cmp.Diff(fields(want), fields(string(o.AppendText(nil)))); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// Without a daemon, only the kernel's data is shown.
	alone := func(seconds int) *Sample {
		s := sample(t, seconds, 1)
		s.Stats, s.Config, s.MACs, s.Err = nil, nil, nil, errors.New("nobody is there")
		return s
	}
	text := string(New(alone(1), alone(2)).AppendText(nil))
	if !strings.HasPrefix(text, "dp0  flows 7  masks 2\n") ||
		!strings.Contains(text, "\nproblem: no daemon answers: nobody is there\n") {
		t.Errorf("without a daemon:\n%s", text)
	}
	// The counters of a recreated datapath are lower: there is no rate.
	if o := New(sample(t, 1, 9), sample(t, 2, 1)); o.Hit != 0 || o.Ports[0].RxPackets != 0 {
		t.Errorf("rates after counters were reset: %+v", o)
	}
}

func TestBusiest(t *testing.T) {
	var flows Flows
	var list Busiest
	dump := func(at int64, bytes ...uint64) {
		now := time.Unix(at, 0)
		flows.Begin()
		list = Busiest{N: 2}
		for i, b := range bytes {
			key, mask, err := odp.Text{}.ParseKey("in_port(" + string(rune('1'+i)) + ")")
			if err != nil {
				t.Fatal(err)
			}
			f := &dpif.Flow{Key: key, Mask: mask, Bytes: b, Packets: b / 100}
			packets, bits := flows.Add(f, now)
			list.Add(packets, bits, f, &odp.Text{})
		}
		flows.End(now)
	}
	dump(10, 1000, 1000, 1000)
	dump(12, 1200, 9000, 5000)
	want := "packets/s     bit/s  flow\n       40       32k  in_port(2) actions:drop\n" +
		"       20       16k  in_port(3) actions:drop\n"
	if got := string(list.AppendText(nil)); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}
