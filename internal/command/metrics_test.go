package command

import (
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"dpifd/internal/endpoint"
	"dpifd/internal/metric"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// everyFigure has a different value for each entry of a table, so that a mix-up shows.
func everyFigure(infos []metric.Info, from int64) (values metric.Values) {
	for n, i := range infos {
		values = append(values, metric.Value{Name: i.Field(), Value: from + int64(n)})
	}
	return values
}

func sampleStats() *endpoint.Stats {
	ports := vswitch.PortStatsMetrics.Infos()
	return &endpoint.Stats{
		Datapath: "dp0", Totals: everyFigure(totals.Table.Lasting().Infos(), 1500000),
		Ports: []endpoint.PortStats{{Port: "va", PortNo: 1, Values: everyFigure(ports, 100)},
			{Port: `v"b\`, PortNo: 2, Values: everyFigure(ports, 200)}},
		UpcallTimes: endpoint.Histogram{Count: 9, SumUS: 1500,
			Buckets: []metric.Bucket{{LeUS: 8, Count: 4}, {LeUS: 16, Count: 8}}},
		Losses: []endpoint.Loss{{Port: "va", PortNo: 1, Cause: "shed", Lost: 7}, {Cause: "no_listener", Lost: 9}},
	}
}

func metricsText(t *testing.T, s *endpoint.Stats) string {
	t.Helper()
	var out bytes.Buffer
	if err := printMetrics(&out, s); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestMetricsHoldAllFigures: each entry of the tables has a sample, in base units.
func TestMetricsHoldAllFigures(t *testing.T) {
	s := sampleStats()
	text := metricsText(t, s)
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if want := 3 + len(s.Totals) + len(s.Ports[0].Values); len(families) != want {
		t.Errorf("%d families, want %d", len(families), want)
	}
	for n, i := range totals.Table.Lasting().Infos() {
		f := families[i.Prometheus("dpifd_")]
		if f == nil || len(f.Metric) != 1 || f.GetHelp() != i.Help {
			t.Fatalf("%s: %v", i.Name, f)
		}
		want := float64(1500000+n) / i.Scale()
		if got := f.Metric[0].GetCounter().GetValue() + f.Metric[0].GetGauge().GetValue(); got != want {
			t.Errorf("%s: %g, want %g", i.Name, got, want)
		}
	}
	for _, line := range []string{
		`dpifd_up{datapath="dp0"} 1`,
		"# TYPE dpifd_batch_seconds_total counter", "# TYPE dpifd_flows gauge",
		`dpifd_upcall_seconds_bucket{datapath="dp0",le="8e-06"} 4`,
		`dpifd_upcall_seconds_bucket{datapath="dp0",le="+Inf"} 9`, `dpifd_upcall_seconds_sum{datapath="dp0"} 0.0015`,
		`dpifd_port_handler{datapath="dp0",port="v\"b\\"} 200`,
		`dpifd_upcalls_lost_total{datapath="dp0",port="va",cause="shed"} 7`,
		`dpifd_upcalls_lost_total{datapath="dp0",port="",cause="no_listener"} 9`,
	} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %s in\n%s", line, text)
		}
	}
	if text := metricsText(t, &endpoint.Stats{Datapath: "dp0"}); strings.Count(text, "\n") != 3 {
		t.Errorf("without counters, ports and losses: %q", text)
	}
}

// TestMetricsLint runs Prometheus' own linter on names, types and help texts.
func TestMetricsLint(t *testing.T) {
	text := metricsText(t, sampleStats())
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// TestMetricsPassPromtool runs promtool, as operators do.
func TestMetricsPassPromtool(t *testing.T) {
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("promtool is not installed")
	}
	cmd := exec.Command(path, "check", "metrics")
	cmd.Stdin = strings.NewReader(metricsText(t, sampleStats()))
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}
