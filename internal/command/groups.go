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

var _ = register(groupsCommand)

func groupsCommand() *cobra.Command {
	var form output
	var socket string
	cmd := &cobra.Command{
		Use:        "dump-groups [DATAPATH]",
		SuggestFor: []string{"groups", "mdb"},
		Short:      "Print the multicast groups of a running daemon",
		Long: "Print the members of multicast groups that a running daemon knows by snooping, sorted by\n" +
			"VLAN, group and port, and the time after which each expires without a further report.\n" +
			"Ports with a querier are listed as routers, before the groups of their VLAN. VLAN 0 is\n" +
			"untagged. Without policy.multicast_snooping there are none." + socketHelp,
		Example:           "  dpifd dump-groups\n  dpifd dump-groups dp0 -o json",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				groups, err := endpoint.GetGroups.Ask(ctx, c, control.None{})
				if err != nil {
					return err
				}
				return printTable(cmd.OutOrStdout(), form, groups, "vlan\tgroup\tport_no\tport\texpires", printGroup)
			})
		},
	}
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

func printGroup(w io.Writer, g *endpoint.Group) {
	name := g.Group
	switch {
	case g.Router && g.IPv6:
		name = "router (MLD)"
	case g.Router:
		name = "router (IGMP)"
	}
	left := (time.Duration(g.ExpiresMS) * time.Millisecond).Round(100 * time.Millisecond)
	fmt.Fprintf(w, "%d\t%s\t%d\t%s\t%s\n", g.VLAN, name, g.PortNo, g.Port, left)
}
