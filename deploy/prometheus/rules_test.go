// Package prometheus_test checks the alert rules with Prometheus' own tool.
package prometheus_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const (
	rules     = "dpifd.rules.yml"
	ruleTests = "dpifd.rules.test.yml"
)

func promtool(t *testing.T, args ...string) (string, error) {
	t.Helper()
	path, err := exec.LookPath("promtool")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("in CI this must run: %v", err)
		}
		t.Skip("promtool is not installed")
	}
	out, err := exec.Command(path, args...).CombinedOutput()
	return string(out), err
}

func TestRules(t *testing.T) {
	for _, args := range [][]string{{"check", "rules", rules}, {"test", "rules", ruleTests}} {
		if out, err := promtool(t, args...); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

var (
	alertName = regexp.MustCompile(`(?m)^      - alert: (\w+)$`)
	expr      = regexp.MustCompile(`(?m)^        expr: (\|\n(          .*\n)+|.*\n)`)
)

// TestEachRuleIsTested removes the metrics of each alert in turn; the rules' tests must detect it.
func TestEachRuleIsTested(t *testing.T) {
	text, tests := read(t, rules), read(t, ruleTests)
	names := alertName.FindAllStringSubmatchIndex(text, -1)
	if len(names) < 10 || len(expr.FindAllString(text, -1)) != len(names) {
		t.Fatalf("%d alerts and %d expressions found", len(names), len(expr.FindAllString(text, -1)))
	}
	for _, at := range names {
		name := text[at[2]:at[3]]
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			where := expr.FindStringIndex(text[at[1]:])
			broken := text[:at[1]+where[0]] + "        expr: vector(0) > 1\n" + text[at[1]+where[1]:]
			write(t, filepath.Join(dir, rules), broken)
			write(t, filepath.Join(dir, ruleTests), tests)
			if out, err := promtool(t, "test", "rules", filepath.Join(dir, ruleTests)); err == nil {
				t.Errorf("nothing tests %s:\n%s", name, out)
			}
		})
	}
}

var metric = regexp.MustCompile(`\bdpifd_[a-z0-9_]+`)

// TestRulesUseMetricsThatExist: the metrics in the rules are those that mtail exports.
func TestRulesUseMetricsThatExist(t *testing.T) {
	program := read(t, "../mtail/dpifd.mtail")
	found := metric.FindAllString(read(t, rules), -1)
	if len(found) == 0 {
		t.Fatal("no metric found in the rules")
	}
	for _, m := range found {
		if !strings.Contains(program, " "+m+" by ") && !strings.Contains(program, "gauge "+m+"\n") {
			t.Errorf("dpifd.mtail has no metric %s", m)
		}
	}
}

// TestSummariesNameEvents: the events named in summaries exist.
func TestSummariesNameEvents(t *testing.T) {
	logs := read(t, "../../docs/LOGS.md")
	named := regexp.MustCompile(`\(events? ([a-z_, ]+?)( has the ports)?\)"`)
	for _, m := range named.FindAllStringSubmatch(read(t, rules), -1) {
		for event := range strings.SplitSeq(m[1], ", ") {
			if !strings.Contains(logs, "\n| `"+event+"` |") {
				t.Errorf("no event %s", event)
			}
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEachCauseOfLossHasAnAlert: the rules cover each cause of loss in the log. In stats a full
// ring counts as the overflow of a socket.
func TestEachCauseOfLossHasAnAlert(t *testing.T) {
	_, losses, _ := strings.Cut(read(t, "../../docs/LOGS.md"), "\n## Loss\n")
	causes := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(losses, -1)
	if len(causes) < 5 {
		t.Fatalf("docs/LOGS.md has only %d causes of loss", len(causes))
	}
	text := read(t, rules)
	for _, c := range causes {
		if c[1] != "ring_full" && !strings.Contains(text, `"cause", "`+c[1]+`"`) {
			t.Errorf("DpifdPacketsLost does not cover %s", c[1])
		}
	}
}
