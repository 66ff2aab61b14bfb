package command

import (
	"context"
	"fmt"
	"io"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"github.com/spf13/cobra"
)

var _ = register(macsCommand)

func macsCommand() *cobra.Command {
	var form output
	var socket string
	cmd := &cobra.Command{
		Use:        "dump-macs [DATAPATH]",
		SuggestFor: []string{"macs"},
		Short:      "Print the MAC table of a running daemon",
		Long: "Print the MAC table of a running daemon, sorted by VLAN and MAC: the port on which each\n" +
			"MAC was last seen, and how long ago, or `static` for one of policy.static_macs. VLAN 0\n" +
			"is untagged. The table of a policy that does not learn is empty." + socketHelp,
		Example:           "  dpifd dump-macs\n  dpifd dump-macs dp0 -o json",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				macs, err := endpoint.GetMACs.Ask(ctx, c, control.None{})
				if err != nil {
					return err
				}
				return printTable(cmd.OutOrStdout(), form, macs, "port_no\tport\tvlan\tmac\tage", printMAC)
			})
		},
	}
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

func printMAC(w io.Writer, m *endpoint.MAC) {
	age := (time.Duration(m.AgeMS) * time.Millisecond).Round(100 * time.Millisecond).String()
	if m.Static {
		age = "static"
	}
	fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\n", m.PortNo, m.Port, m.VLAN, m.MAC, age)
}
