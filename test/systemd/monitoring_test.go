//go:build lab && systemd

package systemd_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"dpifd/docs"
	"dpifd/internal/lab"
)

// recipe matches a block of commands in docs/MONITORING.md.
var recipe = regexp.MustCompile("(?s)```sh\n# recipe: (\\w+)\n(.*?)```")

// monitored is a machine set up by the recipes.
type monitored struct {
	root    *lab.NetNS
	recipes map[string]string
}

// follow runs the commands of a recipe as root. The packages are installed already.
func (m *monitored) follow(t *testing.T, name string) {
	t.Helper()
	text, ok := m.recipes[name]
	if !ok {
		t.Fatalf("docs/MONITORING.md has no recipe %s", name)
	}
	text = regexp.MustCompile(`(?m)^sudo apt install .*$`).ReplaceAllString(text, "")
	m.root.Run(t, "sh", "-euxc", strings.ReplaceAll(text, "sudo ", ""))
}

// get returns the response of an HTTP server on the machine, "" if it does not respond.
func get(url string) string {
	client := http.Client{Timeout: 20 * time.Second}
	r, err := client.Get(url)
	if err != nil {
		return ""
	}
	defer r.Body.Close()
	body, err := io.ReadAll(r.Body)
	if err != nil || r.StatusCode != http.StatusOK {
		return ""
	}
	return string(body)
}

// eventually waits until done returns true, and prints the unit's status if it does not.
func (m *monitored) eventually(t *testing.T, what, unit string, done func() bool) {
	t.Helper()
	for within := lab.Within(waitLimit); !done(); time.Sleep(200 * time.Millisecond) {
		if within.Passed() {
			out, _ := m.root.Try("sh", "-c",
				"systemctl status --no-pager --lines=0 '"+unit+"' dpifd; journalctl --no-pager --lines=40 --unit='"+unit+"'")
			t.Fatalf("not within %v: %s\n%s", waitLimit, what, out)
		}
	}
}

// value returns the value of a metric in the text format, given with its labels, -1 if it is
// missing.
func value(text, metric string) float64 {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, metric+" "); ok {
			v, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
			if f, err := strconv.ParseFloat(v, 64); err == nil {
				return f
			}
		}
	}
	return -1
}

// query sends a query to Prometheus and returns the values by job.
func query(t *testing.T, expr string) map[string]string {
	t.Helper()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Value  [2]any
			}
		}
	}
	text := get("http://localhost:9090/api/v1/query?query=" + url.QueryEscape(expr))
	if text == "" {
		return nil
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil {
		t.Fatal(err)
	}
	all := map[string]string{}
	for _, r := range answer.Data.Result {
		all[r.Metric["job"]] = fmt.Sprint(r.Value[1])
	}
	return all
}

// TestMonitoringRecipes follows docs/MONITORING.md with Debian's packages: Prometheus receives the
// metrics from node_exporter's textfile collector and from mtail, which reads the journal and then
// a log file across a rotation.
func TestMonitoringRecipes(t *testing.T) {
	page, err := docs.Pages.ReadFile("MONITORING.md")
	if err != nil {
		t.Fatal(err)
	}
	m := &monitored{root: lab.Root(t), recipes: map[string]string{}}
	for _, r := range recipe.FindAllStringSubmatch(string(page), -1) {
		m.recipes[r[1]] = r[2]
	}
	// What the packages' maintainer scripts do; they were not run here.
	m.root.Run(t, "sh", "-euc", `
		printf 'g adm 4\nu prometheus - - /var/lib/prometheus\nu mtail -\nm mtail adm\n' | systemd-sysusers -
		mkdir -p /var/lib/prometheus/metrics2 /var/lib/prometheus/node-exporter /var/lib/logrotate /etc/dpifd
		chown -R prometheus /var/lib/prometheus
		ip link set lo up`)
	const config = "/etc/dpifd/dpifd.yaml"
	if err := os.WriteFile(config, []byte("datapath: {name: dp0, on_exit: delete}\n"+
		"log: {stats_interval: 1s}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, _ = m.root.Try("sh", "-c", `systemctl disable --now prometheus prometheus-node-exporter mtail dpifd-journal dpifd-metrics@dp0.timer
			systemctl stop dpifd; rm -rf /etc/systemd/system/dpifd.service.d /etc/systemd/system/dpifd-[mj]* /etc/logrotate.d/dpifd `+config+`
			systemctl daemon-reload`)
	})
	m.root.Run(t, "systemctl", "start", "dpifd")

	m.follow(t, "textfile")
	m.root.Run(t, "systemctl", "start", "prometheus-node-exporter")
	node := func() string { return get("http://localhost:9100/metrics") }
	m.eventually(t, "node_exporter has dpifd_up", "dpifd-metrics@dp0.service", func() bool {
		return value(node(), `dpifd_up{datapath="dp0"}`) == 1
	})

	m.follow(t, "journal")
	mtail := func() string { return get("http://localhost:3903/metrics") }
	up, uptime := `dpifd_up{datapath="dp0",prog="dpifd.mtail"}`, `dpifd_uptime_seconds{datapath="dp0",prog="dpifd.mtail"}`
	m.eventually(t, "mtail has read stats from the journal", "mtail", func() bool {
		return value(mtail(), up) == 1 && value(mtail(), uptime) > 0
	})

	m.follow(t, "prometheus")
	m.eventually(t, "Prometheus has dpifd_up of both ways", "prometheus", func() bool {
		jobs := query(t, "dpifd_up")
		return jobs["node"] == "1" && jobs["mtail"] == "1"
	})
	if rules := get("http://localhost:9090/api/v1/rules"); !strings.Contains(rules, `"DpifdDown"`) ||
		!strings.Contains(rules, `"DpifdSlow"`) {
		t.Errorf("Prometheus lacks rules: %.300s", rules)
	}

	m.root.Run(t, "systemctl", "disable", "--now", "dpifd-journal")
	m.follow(t, "file")
	m.eventually(t, "mtail has read stats from the file", "mtail", func() bool {
		return value(mtail(), up) == 1 && value(mtail(), uptime) > 0
	})
	m.root.Run(t, "logrotate", "--force", "/etc/logrotate.d/dpifd")
	rotated, err := os.ReadFile("/var/log/dpifd.log.1")
	if err != nil || !strings.Contains(string(rotated), `"event":"ready"`) {
		t.Errorf("the rotated log: %v, %.200s", err, rotated)
	}
	before := value(mtail(), uptime)
	m.eventually(t, "mtail reads on after the rotation", "mtail", func() bool { return value(mtail(), uptime) > before+1 })
	if log, err := os.ReadFile("/var/log/dpifd.log"); err != nil || strings.Contains(string(log), `"event":"ready"`) ||
		!strings.HasPrefix(string(log), "{") {
		t.Errorf("the log after the rotation: %v, %.200s", err, log)
	}

	m.root.Run(t, "systemctl", "stop", "dpifd")
	m.eventually(t, "node_exporter has no dpifd_up", "dpifd-metrics@dp0.service", func() bool {
		text := node()
		return text != "" && value(text, `dpifd_up{datapath="dp0"}`) == -1
	})
	m.eventually(t, "mtail has dpifd_up 0", "mtail", func() bool { return value(mtail(), up) == 0 })
}
