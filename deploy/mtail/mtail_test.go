package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"dpifd/internal/metric"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"

	"github.com/google/go-cmp/cmp"
)

// sample is the log of an eventful run on a real datapath: make sample-log.
const sample = "testdata/dpifd.log"

func TestProgramIsCurrent(t *testing.T) {
	var want bytes.Buffer
	if err := generate(&want); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("dpifd.mtail")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), want.String()); diff != "" {
		t.Errorf("dpifd.mtail is out of date; `go run ./deploy/mtail >deploy/mtail/dpifd.mtail` regenerates it "+
			"(-file +want):\n%s", diff)
	}
}

// mtail runs the program on log lines and returns the metrics by name with labels, in Prometheus'
// notation.
func mtail(t *testing.T, log string) map[string]string {
	t.Helper()
	path, err := exec.LookPath("mtail")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("mtail is not installed")
	}
	dir := t.TempDir()
	file := filepath.Join(dir, "dpifd.log")
	if err := os.WriteFile(file, []byte(log), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, "-one_shot", "-one_shot_format", "prometheus", "-emit_prog_label=false",
		"-progs", "dpifd.mtail", "-logs", file, "-log_dir", dir)
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("mtail: %v\n%s", err, &errs)
	}
	metrics := map[string]string{}
	for line := range strings.Lines(string(out)) {
		if !strings.HasPrefix(line, "#") {
			at := strings.LastIndex(line, " ")
			// Large numbers are printed with an exponent.
			v, err := strconv.ParseFloat(strings.TrimSpace(line[at:]), 64)
			if err != nil {
				t.Fatal(err)
			}
			metrics[line[:at]] = strconv.FormatFloat(v, 'f', -1, 64)
		}
	}
	return metrics
}

// add adds the metrics of one line. The sample may lack newer fields.
func add(t *testing.T, want map[string]string, e map[string]any, list []metric.Info, prefix, labels string) {
	t.Helper()
	for _, m := range list {
		n, ok := e[m.Field()].(json.Number)
		if !ok {
			continue
		}
		v, err := n.Float64()
		if err != nil {
			t.Fatal(err)
		}
		want[m.Prometheus(prefix)+labels] = strconv.FormatFloat(v/m.Scale(), 'f', -1, 64)
	}
}

// expected computes the metrics from the log, without mtail.
func expected(t *testing.T, log string) map[string]string {
	t.Helper()
	want := map[string]string{"dpifd_reload_failed": "0"}
	events, lost := map[string]int64{}, map[string]int64{}
	stats, ports := totals.Table.Infos(), vswitch.PortStatsMetrics.Infos()
	for lines := bufio.NewScanner(strings.NewReader(log)); lines.Scan(); {
		d := json.NewDecoder(strings.NewReader(lines.Text()))
		d.UseNumber()
		var e map[string]any
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		name, of := e["event"].(string), fmt.Sprintf("{datapath=%q}", e["datapath"])
		events[fmt.Sprintf("dpifd_events_total{event=%q,level=%q}", name, e["level"])]++
		switch name {
		case "ready":
			want["dpifd_up"+of], want["dpifd_flow_limit_reached"+of] = "1", "0"
		case "stopped":
			want["dpifd_up"+of] = "0"
		case "flow_limit_reached":
			want["dpifd_flow_limit_reached"+of] = "1"
		case "flow_limit_cleared":
			want["dpifd_flow_limit_reached"+of] = "0"
		case "reload_failed":
			want["dpifd_reload_failed"] = "1"
		case "reloaded", "starting":
			want["dpifd_reload_failed"] = "0"
		case "upcalls_lost":
			n, err := e["lost"].(json.Number).Int64()
			if err != nil {
				t.Fatal(err)
			}
			lost[fmt.Sprintf("dpifd_upcalls_lost_total{cause=%q,datapath=%q,port=%q}", e["cause"], e["datapath"],
				e["port"])] += n
		case "stats":
			add(t, want, e, stats, "dpifd_", of)
		case "port_stats":
			add(t, want, e, ports, "dpifd_port_", fmt.Sprintf("{datapath=%q,port=%q}", e["datapath"], e["port"]))
		}
	}
	for _, sums := range []map[string]int64{events, lost} {
		for k, n := range sums {
			want[k] = fmt.Sprint(n)
		}
	}
	return want
}

// TestMetricsMatchLog compares mtail's metrics with the log, up to the end of the first
// run, which had many losses, and up to the end of the second.
func TestMetricsMatchLog(t *testing.T) {
	data, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	log := string(data)
	second := strings.LastIndex(log, `"event":"starting"`)
	second = strings.LastIndex(log[:max(second, 0)], "\n") + 1
	if second == 0 {
		t.Fatal("the sample has no second run")
	}
	for name, part := range map[string]string{"one run": log[:second], "both": log} {
		t.Run(name, func(t *testing.T) {
			got, want := mtail(t, part), expected(t, part)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("metrics (-the log's +mtail's):\n%s", diff)
			}
		})
	}
	// The sample must contain these metrics.
	all := slices.Sorted(maps.Keys(mtail(t, log)))
	for _, want := range []string{"^dpifd_upcalls_lost_total", "^dpifd_port_rx_packets_total",
		`^dpifd_events_total\{event="reload_failed"`, "^dpifd_batch_seconds_total"} {
		if !slices.ContainsFunc(all, regexp.MustCompile(want).MatchString) {
			t.Errorf("the sample gives no metric %s; make sample-log creates a new one", want)
		}
	}
}

// TestTotalsNeverFall: values that decrease within a run must be gauges.
func TestTotalsNeverFall(t *testing.T) {
	data, err := os.ReadFile(sample)
	if err != nil {
		t.Fatal(err)
	}
	before := map[string]int64{}
	for line := range strings.Lines(string(data)) {
		d := json.NewDecoder(strings.NewReader(line))
		d.UseNumber()
		var e map[string]any
		if err := d.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if e["event"] == "starting" {
			clear(before)
		}
		for _, m := range totals.Table.Infos() {
			if e["event"] != "stats" || m.Kind != metric.Count {
				continue
			}
			n, ok := e[m.Field()].(json.Number)
			if !ok {
				continue // newer than the sample
			}
			v, err := n.Int64()
			if err != nil {
				t.Fatal(err)
			}
			if v < before[m.Field()] {
				t.Errorf("%s falls from %d to %d", m.Name, before[m.Field()], v)
			}
			before[m.Field()] = v
		}
	}
}

// TestHostileNames: a device name may contain quotes, and a line that is not from dpifd may be
// anything.
func TestHostileNames(t *testing.T) {
	line := func(port string, lost int) string {
		name, err := json.Marshal(port)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf(`{"level":"WARN","ts":"2026-11-22T20:58:39Z","event":"upcalls_lost","datapath":"dp0",`+
			`"port":%s,"port_no":1,"cause":"ring_full","lost":%d,"lost_total":9,"last_errno":""}`+"\n", name, lost)
	}
	got := mtail(t, line(`a","event":"x`, 3)+"panic: not a line of the log\n\n{\"level\":\n"+line("b", 4)+line("b", 5))
	delete(got, "dpifd_reload_failed")
	want := map[string]string{
		`dpifd_events_total{event="upcalls_lost",level="WARN"}`:                                       "3",
		`dpifd_upcalls_lost_total{cause="ring_full",datapath="dp0",port="b"}`:                         "9",
		`dpifd_upcalls_lost_total{cause="ring_full",datapath="dp0",port="a\\\",\\\"event\\\":\\\"x"}`: "3",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
