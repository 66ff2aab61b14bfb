// Command mtail generates dpifd.mtail, a program for mtail (https://google.github.io/mtail/) that
// turns dpifd's log into metrics: one for each field of the events stats and port_stats.
//
//	go run ./deploy/mtail >deploy/mtail/dpifd.mtail
package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"dpifd/internal/metric"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"
)

func main() {
	if err := generate(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "mtail:", err)
		os.Exit(1)
	}
}

// declarations declares the metrics of an event.
func declarations(b *strings.Builder, figures []metric.Info, prefix, labels string) {
	for _, i := range figures {
		fmt.Fprintf(b, "%s %s by %s\n", i.Kind, i.Prometheus(prefix), labels)
	}
}

// assignments extracts the metrics of an event from its line.
func assignments(b *strings.Builder, figures []metric.Info, prefix, key, indent string) {
	for _, i := range figures {
		value := "$n"
		if i.Scale() != 1 {
			value += fmt.Sprintf(" / %.1f", i.Scale())
		}
		fmt.Fprintf(b, "%[1]s/\"%[2]s\":(?P<n>-?\\d+)/ {\n%[1]s  %[3]s%[4]s = %[5]s\n%[1]s}\n",
			indent, i.Field(), i.Prometheus(prefix), key, value)
	}
}

func generate(w io.Writer) error {
	all, ports := totals.Table.Infos(), vswitch.PortStatsMetrics.Infos()
	var b strings.Builder
	b.WriteString(head)
	declarations(&b, all, totals.Prefix, "datapath")
	declarations(&b, ports, totals.PortPrefix, "datapath, port")
	b.WriteString(body)
	assignments(&b, all, totals.Prefix, "[$datapath]", "    ")
	b.WriteString(between)
	assignments(&b, ports, totals.PortPrefix, "[$datapath][$port]", "      ")
	b.WriteString(tail)
	_, err := io.WriteString(w, b.String())
	return err
}

const head = `# Metrics from dpifd's log (log.format: json). Written by: go run ./deploy/mtail
#
# A _total has the value of the daemon's own counter, which restarts with the daemon;
# Prometheus handles that. dpifd_upcalls_lost_total and dpifd_events_total count the
# lines that mtail has read.

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
    # Read from its middle, a log has no ready.
    dpifd_up[$datapath] = 1
`

const between = `  }
  /"event":"port_stats"/ {
    /"port":"(?P<port>(?:[^"\\]|\\.)*)"/ {
`

const tail = `    }
  }
}
`
