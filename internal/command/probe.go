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
		Short: "Try what this kernel offers to dpifd",
		Long: "Try what this kernel offers to dpifd, one finding a line: whether it is there (yes,\n" +
			"no, or untried where the trial takes a privilege that is missing), what was found,\n" +
			"and what dpifd does without it.\n\n" +
			"Nothing is guessed from versions: rings are mapped, flows installed, features set.\n" +
			"That happens on a datapath made for it in a network namespace made for it, which\n" +
			"takes CAP_SYS_ADMIN and CAP_NET_ADMIN; nothing else of the host changes, but that\n" +
			"the kernel loads its module openvswitch when it is asked about datapaths.\n\n" +
			"Exits with 1 only if dpifd could not run here.",
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
