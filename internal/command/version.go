package command

import (
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

var _ = register(versionCommand)

func versionCommand() *cobra.Command {
	var form output
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Long: "Print the version of dpifd and of the Go release that built it. If it was built from a\n" +
			"checkout, the version is the revision.",
		Example: "  dpifd version\n  dpifd version -o json",
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if form == outputJSON {
				return failed(printJSON(cmd.OutOrStdout(), map[string]string{"version": revision(), "go": runtime.Version()}))
			}
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dpifd %s\n", version())
			return failed(err)
		},
	}
	outputFlag(cmd, &form)
	return cmd
}

// version is the revision and the Go release.
func version() string { return revision() + " " + runtime.Version() }

// revision is the module's version or, built from a checkout, its revision.
func revision() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && (v == "" || v == "(devel)") {
			v = s.Value
		}
	}
	if v == "" {
		v = "(devel)"
	}
	return v
}
