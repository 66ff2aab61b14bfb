// Package grafana_test compares the dashboard with the metrics that dpifd exports.
package grafana_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"dpifd/internal/metric"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"
)

// dashboard holds the parts of Grafana's dashboard model that the test reads.
type dashboard struct {
	Panels []struct {
		ID                       int
		Type, Title, Description string
		GridPos                  struct{ X, Y, W, H int }
		Targets                  []struct{ Expr, LegendFormat string }
		FieldConfig              struct{ Defaults struct{ Unit string } }
	}
	Templating struct {
		List []struct{ Name, Type, Query string }
	}
}

func load(t *testing.T) *dashboard {
	t.Helper()
	data, err := os.ReadFile("dpifd.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(data, &d); err != nil {
		t.Fatal(err)
	}
	if len(d.Panels) < 12 {
		t.Fatalf("%d panels", len(d.Panels))
	}
	return &d
}

// exported is a metric with its labels.
type exported struct {
	kind   metric.Kind
	labels []string
}

// metrics returns the metrics of `dpifd metrics`; mtail derives the same from the log.
func metrics() map[string]exported {
	all := map[string]exported{
		"dpifd_up":                    {metric.Level, []string{"datapath"}},
		"dpifd_upcalls_lost_total":    {metric.Count, []string{"datapath", "port", "cause"}},
		"dpifd_upcall_seconds_bucket": {metric.Count, []string{"datapath", "le"}}, // not from mtail
	}
	for _, i := range totals.Table.Lasting().Infos() {
		all[i.Prometheus(totals.Prefix)] = exported{i.Kind, []string{"datapath"}}
	}
	for _, i := range vswitch.PortStatsMetrics.Infos() {
		all[i.Prometheus(totals.PortPrefix)] = exported{i.Kind, []string{"datapath", "port"}}
	}
	return all
}

var (
	// use matches a metric, the function before it, and its selector.
	use      = regexp.MustCompile(`(\w*)(\(?)\b(dpifd_\w+)(\{[^}]*\})?(\[[^\]]*\])?`)
	matcher  = regexp.MustCompile(`(\w+)=~?"`)
	grouping = regexp.MustCompile(`by \(([^)]*)\)`)
	legend   = regexp.MustCompile(`\{\{(\w+)\}\}`)
)

// TestQueries: each query uses exported metrics with their labels, counters as rates and gauges
// directly.
func TestQueries(t *testing.T) {
	all, used := metrics(), map[string]bool{}
	check := func(where, expr, legendFormat string) {
		uses := use.FindAllStringSubmatch(expr, -1)
		if len(uses) == 0 {
			t.Errorf("%s: no metric in %q", where, expr)
		}
		var names []string
		for _, m := range matcher.FindAllStringSubmatch(expr, -1) {
			names = append(names, m[1])
		}
		for _, m := range grouping.FindAllStringSubmatch(expr, -1) {
			names = append(names, strings.Split(m[1], ", ")...)
		}
		for _, m := range legend.FindAllStringSubmatch(legendFormat, -1) {
			names = append(names, m[1])
		}
		for _, u := range uses {
			function, name, window := u[1], u[3], u[5]
			e, ok := all[name]
			if !ok {
				t.Errorf("%s: there is no metric %s", where, name)
				continue
			}
			used[name] = true
			rated := window != "" && (function == "rate" || function == "increase")
			if rated != (e.kind == metric.Count) && !strings.HasPrefix(expr, "label_values(") {
				t.Errorf("%s: %s is a %s: %s", where, name, e.kind, expr)
			}
			for _, l := range names {
				if !slices.Contains(e.labels, l) {
					t.Errorf("%s: %s has no label %s", where, name, l)
				}
			}
		}
	}
	d := load(t)
	for _, p := range d.Panels {
		if p.Title == "" || p.Description == "" || p.FieldConfig.Defaults.Unit == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d lacks title, description, unit or query", p.ID)
		}
		for _, q := range p.Targets {
			check(p.Title, q.Expr, q.LegendFormat)
		}
	}
	for _, v := range d.Templating.List {
		if v.Type == "query" {
			check("variable "+v.Name, strings.Replace(v.Query, ", "+v.Name+")", ")", 1), "{{"+v.Name+"}}")
		}
	}
	if len(used) < 20 {
		t.Errorf("only %d metrics are used", len(used))
	}
}

// TestPanelsDoNotOverlap: each panel has its own place on the grid, and its own number.
func TestPanelsDoNotOverlap(t *testing.T) {
	cells, ids := map[[2]int]string{}, map[int]bool{}
	for _, p := range load(t).Panels {
		if ids[p.ID] {
			t.Errorf("%s: number %d is taken", p.Title, p.ID)
		}
		ids[p.ID] = true
		g := p.GridPos
		if g.W == 0 || g.H == 0 || g.X+g.W > 24 {
			t.Errorf("%s does not fit the grid: %+v", p.Title, g)
		}
		for x := g.X; x < g.X+g.W; x++ {
			for y := g.Y; y < g.Y+g.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" {
					t.Fatalf("%s lies over %s", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
}

// TestSyntax checks the queries with promtool, as rules.
func TestSyntax(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("promtool is not installed")
	}
	fill := strings.NewReplacer("$__rate_interval", "1m", "$__range", "6h", "$datapath", "dp0", "$port", ".*")
	var rules strings.Builder
	rules.WriteString("groups:\n- name: dashboard\n  rules:\n")
	for _, p := range load(t).Panels {
		for i, q := range p.Targets {
			fmt.Fprintf(&rules, "  - record: panel:%d:%d\n    expr: %q\n", p.ID, i, fill.Replace(q.Expr))
		}
	}
	file := filepath.Join(t.TempDir(), "rules.yml")
	if err := os.WriteFile(file, []byte(rules.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "rules", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
