package command

import (
	"context"
	"errors"
	"fmt"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"github.com/spf13/cobra"
)

var _ = register(flushMACsCommand)

// maxVLAN is the largest VLAN identifier of 802.1Q that may be used.
const maxVLAN = 4094

func flushMACsCommand() *cobra.Command {
	var form output
	var socket, port string
	var vlan uint16
	cmd := &cobra.Command{
		Use:   "flush-macs [DATAPATH]",
		Short: "Remove learned MACs from a running daemon",
		Long: "Remove the learned MACs of a running daemon: all, or those of a port or VLAN. Packets\n" +
			"to them are flooded until they are learned again. Static MACs stay." + socketHelp,
		Example:           "  dpifd flush-macs\n  dpifd flush-macs dp0 --port eth1 --vlan 10",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			which := endpoint.Flush{Port: port}
			if cmd.Flags().Changed("vlan") {
				which.VLAN = &vlan
			}
			if vlan > maxVLAN {
				return errors.New("--vlan: want a number from 0 to 4094")
			}
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				done, err := endpoint.FlushMACs.Ask(ctx, c, which)
				if err != nil {
					return err
				}
				if form == outputJSON {
					return printJSON(cmd.OutOrStdout(), done)
				}
				_, err = fmt.Fprintf(cmd.OutOrStdout(), "%d MACs removed\n", done.MACs)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&port, "port", "", "only MACs behind port `NAME`")
	cmd.Flags().Uint16Var(&vlan, "vlan", 0, "only MACs of VLAN `ID`; 0 is untagged")
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}
