package command

import (
	"context"
	"fmt"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"github.com/spf13/cobra"
)

var _ = register(traceCommand)

func traceCommand() *cobra.Command {
	var form output
	var socket string
	var names bool
	cmd := &cobra.Command{
		Use:   "trace DATAPATH KEY",
		Short: "Show what the policy would do with a packet, step by step",
		Long: "Show what the policy of a running daemon would do with a packet with the flow key KEY,\n" +
			"step by step: what it reads and finds, the decision, and the match and actions of the\n" +
			"flow that it would install. Nothing is sent, learned or installed.\n\n" +
			"KEY has the syntax of ovs-dpctl, as in the event upcall and in `dpifd monitor upcall`;\n" +
			"ports are numbers or names. Fields that KEY does not name and wildcarded bits are zero,\n" +
			"except those that others imply: tcp(...) implies the protocol, ipv6(...) the EtherType.\n" +
			"Without any EtherType it is that of IPv4. The line assumed shows what was added. If a\n" +
			"flow in the kernel matches, the kernel uses that flow: see `dpifd dump-flows`." + socketHelp,
		Example: "  dpifd trace dp0 'in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)'\n" +
			"  dpifd trace dp0 'in_port(va),eth(src=02:00:00:00:00:01,dst=ff:ff:ff:ff:ff:ff)' -o json",
		Args:              arguments(2, 2),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(socket, args[0], func(ctx context.Context, c *control.Client) error {
				t, err := endpoint.TracePacket.Ask(ctx, c,
					endpoint.TraceRequest{Datapath: args[0], Key: args[1], Names: named(cmd, names)})
				if err != nil {
					return err
				}
				out := cmd.OutOrStdout()
				if form == outputJSON {
					return printJSON(out, t)
				}
				fmt.Fprintf(out, "policy: %s\nkey: %s\n", t.Policy, t.Key)
				if t.Assumed != "" {
					fmt.Fprintf(out, "assumed: %s\n", t.Assumed)
				}
				fmt.Fprintln(out)
				for i, s := range t.Steps {
					fmt.Fprintf(out, "%2d. %s: %s\n", i+1, s.Step, s.Found)
				}
				fmt.Fprintf(out, "\ndecision: %s\nactions: %s\n", t.Decision, t.Actions)
				if t.Install {
					_, err = fmt.Fprintf(out, "flow: %s\n", t.Match)
				} else {
					_, err = fmt.Fprintln(out, "flow: none would be installed")
				}
				return err
			})
		},
	}
	namesFlag(cmd, &names)
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}
