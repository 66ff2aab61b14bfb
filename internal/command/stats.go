package command

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"github.com/spf13/cobra"
)

var _ = register(statsCommand)

func statsCommand() *cobra.Command {
	var form output
	var socket string
	var again repeat
	cmd := &cobra.Command{
		Use:   "stats [DATAPATH]",
		Short: "Print the counters of a running daemon",
		Long: "Print the counters of a running daemon: totals since its start, counters per port, and\n" +
			"losses by port and cause. Names and units are those of the events stats, port_stats\n" +
			"and upcalls_lost." + socketHelp,
		Example:           "  dpifd stats\n  dpifd stats dp0 -o json | jq .totals.upcalls",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return again.do(cmd.OutOrStdout(), func() error {
				return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
					s, err := endpoint.GetStats.Ask(ctx, c, control.None{})
					if err != nil {
						return err
					}
					if form == outputJSON {
						return printJSON(cmd.OutOrStdout(), s)
					}
					return printStats(cmd.OutOrStdout(), s)
				})
			})
		},
	}
	again.flag(cmd)
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

func printStats(out io.Writer, s *endpoint.Stats) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "datapath\t%s\n", s.Datapath)
	for _, v := range s.Totals {
		fmt.Fprintf(w, "%s\t%d\n", v.Name, v.Value)
	}
	if len(s.Ports) > 0 {
		fmt.Fprint(w, "\nport\tport_no")
		for _, v := range s.Ports[0].Values {
			fmt.Fprintf(w, "\t%s", v.Name)
		}
		for _, p := range s.Ports {
			fmt.Fprintf(w, "\n%s\t%d", p.Port, p.PortNo)
			for _, v := range p.Values {
				fmt.Fprintf(w, "\t%d", v.Value)
			}
		}
		fmt.Fprintln(w)
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
