package command

import (
	"fmt"

	"dpifd/internal/probe"

	"github.com/spf13/cobra"
)

var _ = register(probeCommand)

func probeCommand() *cobra.Command {
	var form output
	cmd := &cobra.Command{
		Use:   "probe",
		Short: "Test what this kernel offers to dpifd",
		Long: "Test what this kernel offers to dpifd, one finding per line: yes, no, or untried if a\n" +
			"privilege is missing, then the result, and what dpifd does without the feature.\n\n" +
			"probe does not rely on versions: it maps rings, installs flows and sets features, on a\n" +
			"new datapath in a temporary network namespace, which needs CAP_SYS_ADMIN and\n" +
			"CAP_NET_ADMIN. Nothing else on the host changes, except that the kernel loads its\n" +
			"module openvswitch.\n\n" +
			"Exits with 1 only if dpifd cannot run here.",
		Example: "  dpifd probe\n  dpifd probe -o json | jq '.findings[] | select(.state != \"yes\")'",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			report := probe.Run()
			var err error
			if form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), report)
			} else {
				_, err = cmd.OutOrStdout().Write(report.AppendText(nil))
			}
			if err == nil && !report.Runs {
				err = fmt.Errorf("probe: dpifd cannot run here: %w", report.Missing())
			}
			return failed(err)
		},
	}
	outputFlag(cmd, &form)
	return cmd
}
