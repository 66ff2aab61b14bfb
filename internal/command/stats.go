package command

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"dpifd/internal/control"
	"dpifd/internal/daemon"

	"github.com/spf13/cobra"
)

var _ = register(statsCommand)

func statsCommand() *cobra.Command {
	var form output
	var socket string
	cmd := &cobra.Command{
		Use:   "stats [DP]",
		Short: "Print the counters of a running daemon",
		Long: "Print the counters of a running daemon: totals since its start, each port's, and\n" +
			"what was lost by port and cause. Names and units are those of the events stats,\n" +
			"port_stats and upcalls_lost of the log." + socketHelp,
		Example:           "  dpifd stats\n  dpifd stats dp0 -o json | jq .totals.upcalls",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				s, err := daemon.GetStats.Ask(ctx, c, control.None{})
				if err != nil {
					return err
				}
				if form == outputJSON {
					return printJSON(cmd.OutOrStdout(), s)
				}
				return printStats(cmd.OutOrStdout(), s)
			})
		},
	}
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

func printStats(out io.Writer, s *daemon.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, f := range s.Totals {
		fmt.Fprintf(w, "%s\t%s\n", f.Name, f.Text())
	}
	if len(s.Ports) > 0 {
		fmt.Fprintln(w)
		table(w, s.Ports)
	}
	if len(s.Losses) > 0 {
		fmt.Fprint(w, "\nport\tcause\tlost\n")
		for _, l := range s.Losses {
			name := l.Port
			if name == "" {
				name = "-" // of the datapath
			}
			fmt.Fprintf(w, "%s\t%s\t%d\n", name, l.Cause, l.Lost)
		}
	}
	return w.Flush()
}

// table writes rows that have the same fields, but for the datapath's name.
func table(w io.Writer, rows []control.Fields) {
	line := func(row control.Fields, cell func(control.Field) string) {
		for i, f := range row[1:] {
			if i > 0 {
				fmt.Fprint(w, "\t")
			}
			fmt.Fprint(w, cell(f))
		}
		fmt.Fprintln(w)
	}
	line(rows[0], func(f control.Field) string { return f.Name })
	for _, row := range rows {
		line(row, control.Field.Text)
	}
}
