package command

import (
	"fmt"

	"dpifd/internal/config"

	"github.com/spf13/cobra"
)

func checkCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:     "check --config FILE",
		Short:   "Check a configuration file without touching the kernel",
		Long:    "Check a configuration file without touching the kernel. Prints where and what is\nwrong, and exits with 1, if the file cannot be used.",
		Example: "  dpifd check --config /etc/dpifd/dpifd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := config.Load(path); err != nil {
				return failed(err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", path)
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}
