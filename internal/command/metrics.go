package command

import (
	"context"
	"io"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/metric"
	"dpifd/internal/totals"
	"dpifd/internal/vswitch"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/spf13/cobra"
)

var _ = register(metricsCommand)

func metricsCommand() *cobra.Command {
	var socket string
	cmd := &cobra.Command{
		Use:   "metrics [DATAPATH]",
		Short: "Print the counters of a running daemon for Prometheus",
		Long: "Print all counters of a running daemon in the text format of Prometheus: those of\n" +
			"`dpifd stats`, with times in seconds. dpifd does not listen on the network: let a\n" +
			"timer write the text to a file for the textfile collector of node_exporter. The names\n" +
			"are the same as those of the mtail program." + socketHelp,
		Example: "  dpifd metrics dp0\n" +
			"  dpifd metrics dp0 >dpifd.prom.new && mv dpifd.prom.new /var/lib/prometheus/node-exporter/dpifd.prom",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				s, err := endpoint.GetStats.Ask(ctx, c, control.None{})
				if err != nil {
					return err
				}
				return printMetrics(cmd.OutOrStdout(), s)
			})
		},
	}
	socketFlag(cmd, &socket)
	return cmd
}

// printMetrics writes the counters in the text format of Prometheus.
func printMetrics(out io.Writer, s *endpoint.Stats) error {
	all := []*dto.MetricFamily{family("dpifd_up", "whether the daemon serves the datapath", metric.Level)}
	sample(all[0], 1, "datapath", s.Datapath)
	for _, i := range totals.Table.Lasting().Infos() {
		if n, ok := s.Totals.Get(i.Field()); ok {
			f := family(i.Prometheus(totals.Prefix), i.Help, i.Kind)
			sample(f, float64(n)/i.Scale(), "datapath", s.Datapath)
			all = append(all, f)
		}
	}
	if len(s.UpcallTimes.Buckets) > 0 {
		all = append(all, histogram("dpifd_upcall_seconds",
			"time from an upcall's arrival until its answer was sent: a bound", &s.UpcallTimes, s.Datapath))
	}
	for _, i := range vswitch.PortStatsMetrics.Infos() {
		f := family(i.Prometheus(totals.PortPrefix), i.Help, i.Kind)
		for _, p := range s.Ports {
			if n, ok := p.Values.Get(i.Field()); ok {
				sample(f, float64(n)/i.Scale(), "datapath", s.Datapath, "port", p.Port)
			}
		}
		all = append(all, f)
	}
	lost := family("dpifd_upcalls_lost_total",
		"packets lost on their way through the daemon, by port and cause", metric.Count)
	for _, l := range s.Losses {
		sample(lost, float64(l.Lost), "datapath", s.Datapath, "port", l.Port, "cause", l.Cause)
	}
	for _, f := range append(all, lost) {
		if len(f.Metric) == 0 {
			continue // the format has no family without a sample
		}
		if _, err := expfmt.MetricFamilyToText(out, f); err != nil {
			return err
		}
	}
	return nil
}

func family(name, help string, kind metric.Kind) *dto.MetricFamily {
	t := dto.MetricType_COUNTER
	if kind == metric.Level {
		t = dto.MetricType_GAUGE
	}
	return &dto.MetricFamily{Name: &name, Help: &help, Type: &t}
}

// histogram returns a family of one histogram.
func histogram(name, help string, h *endpoint.Histogram, datapath string) *dto.MetricFamily {
	label, t, sum := "datapath", dto.MetricType_HISTOGRAM, float64(h.SumUS)/1e6
	m := &dto.Metric{Label: []*dto.LabelPair{{Name: &label, Value: &datapath}},
		Histogram: &dto.Histogram{SampleCount: &h.Count, SampleSum: &sum}}
	for i := range h.Buckets {
		b, bound := &h.Buckets[i], float64(h.Buckets[i].LeUS)/1e6
		m.Histogram.Bucket = append(m.Histogram.Bucket, &dto.Bucket{UpperBound: &bound, CumulativeCount: &b.Count})
	}
	return &dto.MetricFamily{Name: &name, Help: &help, Type: &t, Metric: []*dto.Metric{m}}
}

// sample adds a value to a family. labels are names and values in turn.
func sample(f *dto.MetricFamily, value float64, labels ...string) {
	m := &dto.Metric{}
	for i := 0; i < len(labels); i += 2 {
		m.Label = append(m.Label, &dto.LabelPair{Name: &labels[i], Value: &labels[i+1]})
	}
	if *f.Type == dto.MetricType_COUNTER {
		m.Counter = &dto.Counter{Value: &value}
	} else {
		m.Gauge = &dto.Gauge{Value: &value}
	}
	f.Metric = append(f.Metric, m)
}
