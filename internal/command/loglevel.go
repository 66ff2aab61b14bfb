package command

import (
	"context"
	"fmt"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"github.com/spf13/cobra"
)

var _ = register(logLevelCommand)

func logLevelCommand() *cobra.Command {
	var form output
	var socket, datapath string
	cmd := &cobra.Command{
		Use:   "log-level [LEVEL]",
		Short: "Show or change the log level of a running daemon",
		Long: "Show the log level of a running daemon, or set it to debug, info, warn or error until\n" +
			"the daemon reads its configuration again or exits." + socketHelp,
		Example:   "  dpifd log-level\n  dpifd log-level debug --datapath dp0",
		Args:      arguments(0, 1),
		ValidArgs: config.Levels(),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := cobra.OnlyValidArgs(cmd, args); err != nil {
				return fmt.Errorf("%w: want debug, info, warn or error", err)
			}
			return ask(socket, datapath, func(ctx context.Context, c *control.Client) error {
				var change endpoint.Change
				var err error
				if len(args) == 0 {
					var now endpoint.Level
					now, err = endpoint.GetLogLevel.Ask(ctx, c, control.None{})
					change.Level = now.Level
				} else {
					change, err = endpoint.SetLogLevel.Ask(ctx, c, endpoint.Level{Level: args[0]})
				}
				switch {
				case err != nil:
					return err
				case form == outputJSON && len(args) == 0:
					return printJSON(cmd.OutOrStdout(), endpoint.Level{Level: change.Level})
				case form == outputJSON:
					return printJSON(cmd.OutOrStdout(), change)
				case len(args) == 0:
					_, err = fmt.Fprintln(cmd.OutOrStdout(), change.Level)
				default:
					_, err = fmt.Fprintf(cmd.OutOrStdout(), "%s (was %s)\n", change.Level, change.Before)
				}
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&datapath, "datapath", "d", "", "`DATAPATH` of the daemon")
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}
