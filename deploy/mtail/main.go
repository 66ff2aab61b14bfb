// Command mtail writes dpifd.mtail, a program for mtail
// (https://google.github.io/mtail/) that turns dpifd's log into metrics. It has a
// metric for each figure that docs/LOGS.md lists for stats and port_stats, so that
// none is forgotten.
//
//	go run ./deploy/mtail >deploy/mtail/dpifd.mtail
package main

import (
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

const logs = "docs/LOGS.md"

func main() {
	page, err := os.ReadFile(logs)
	if err == nil {
		err = generate(os.Stdout, string(page))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "mtail:", err)
		os.Exit(1)
	}
}

// gauges are the figures of stats and port_stats that may fall: all others are
// totals.
var gauges = []string{
	"uptime_s", "ports", "flows", "flow_limit", "masks", "macs", "ring_bytes", "revalidator_dump_ms", "batch_max_us", "handler", "goroutines", "flows_static",
}

// labels are fields that say what a line is about, and skipped what a
// monitor computes itself.
var (
	labels  = []string{"datapath", "port", "port_no"}
	skipped = regexp.MustCompile(`_delta$|^interval_ms$`)
)

// metric is a figure of an event.
type metric struct {
	event, field, name, kind, labels string
}

// metrics returns those of an event, in the order of its fields.
func metrics(page, event, prefix string, by ...string) ([]metric, error) {
	row := regexp.MustCompile("(?m)^\\| `" + event + "` \\| [A-Z]+ \\| ([a-z0-9_` ]*) \\|").FindStringSubmatch(page)
	if row == nil {
		return nil, fmt.Errorf("%s does not list the event %s", logs, event)
	}
	var out []metric
	for f := range strings.FieldsSeq(strings.ReplaceAll(row[1], "`", "")) {
		if slices.Contains(labels, f) || skipped.MatchString(f) {
			continue
		}
		m := metric{event, f, prefix + f + "_total", "counter", strings.Join(by, ", ")}
		if slices.Contains(gauges, f) {
			m.name, m.kind = prefix+f, "gauge"
		}
		out = append(out, m)
	}
	return out, nil
}

func generate(w io.Writer, page string) error {
	stats, err := metrics(page, "stats", "dpifd_", "datapath")
	if err != nil {
		return err
	}
	ports, err := metrics(page, "port_stats", "dpifd_port_", "datapath", "port")
	if err != nil {
		return err
	}
	var b strings.Builder
	b.WriteString(head)
	for _, m := range slices.Concat(stats, ports) {
		fmt.Fprintf(&b, "%s %s by %s\n", m.kind, m.name, m.labels)
	}
	b.WriteString(body)
	for _, m := range stats {
		fmt.Fprintf(&b, "    /\"%s\":(?P<n>-?\\d+)/ {\n      %s[$datapath] = $n\n    }\n", m.field, m.name)
	}
	b.WriteString(between)
	for _, m := range ports {
		fmt.Fprintf(&b, "      /\"%s\":(?P<n>-?\\d+)/ {\n        %s[$datapath][$port] = $n\n      }\n", m.field, m.name)
	}
	b.WriteString(tail)
	_, err = io.WriteString(w, b.String())
	return err
}

const head = `# Metrics from dpifd's log (log.format: json). Written by: go run ./deploy/mtail
#
# A _total follows the daemon's own count and begins anew when the daemon does,
# which Prometheus allows for. dpifd_upcalls_lost_total and dpifd_events_total count
# what mtail has read.

counter dpifd_events_total by event, level
counter dpifd_upcalls_lost_total by datapath, port, cause
gauge dpifd_up by datapath
gauge dpifd_flow_limit_reached by datapath
gauge dpifd_reload_failed
`

const body = `
/"level":"(?P<level>[A-Z]+)"/ {
  /"event":"(?P<event>[a-z0-9_]+)"/ {
    dpifd_events_total[$event][$level]++
  }
}

/"event":"reload_failed"/ {
  dpifd_reload_failed = 1
}
/"event":"(?:reloaded|starting)"/ {
  dpifd_reload_failed = 0
}

/"datapath":"(?P<datapath>(?:[^"\\]|\\.)+)"/ {
  /"event":"ready"/ {
    dpifd_up[$datapath] = 1
    dpifd_flow_limit_reached[$datapath] = 0
  }
  /"event":"(?:stopped|datapath_gone|failed)"/ {
    dpifd_up[$datapath] = 0
  }
  /"event":"flow_limit_reached"/ {
    dpifd_flow_limit_reached[$datapath] = 1
  }
  /"event":"flow_limit_cleared"/ {
    dpifd_flow_limit_reached[$datapath] = 0
  }
  /"event":"upcalls_lost"/ {
    /"port":"(?P<port>(?:[^"\\]|\\.)*)".*"cause":"(?P<cause>[a-z_]+)","lost":(?P<n>\d+)/ {
      dpifd_upcalls_lost_total[$datapath][$port][$cause] += $n
    }
  }
  /"event":"stats"/ {
`

const between = `  }
  /"event":"port_stats"/ {
    /"port":"(?P<port>(?:[^"\\]|\\.)*)"/ {
`

const tail = `    }
  }
}
`
