package command

import (
	"errors"

	"github.com/spf13/cobra"
)

func monitorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "monitor",
		Short:   "Print what happens, as it happens",
		Long:    "Print what happens, as it happens, one event a line, until SIGINT or SIGTERM. What\nis left out, for want of room or time, is said where it happened.",
		Example: "  dpifd monitor upcall --filter 'in_port(1)'",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			return errors.New("monitor: what to watch is missing")
		},
	}
	cmd.AddCommand(monitorUpcallCommand())
	return cmd
}
