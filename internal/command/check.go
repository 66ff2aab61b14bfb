package command

import (
	"errors"
	"fmt"

	"dpifd/internal/config"

	"github.com/spf13/cobra"
)

func checkCommand() *cobra.Command {
	var from source
	var form output
	cmd := &cobra.Command{
		Use:   "check --config FILE",
		Short: "Check a configuration file without touching the kernel",
		Long: "Check a configuration file without touching the kernel. Prints where and what is\n" +
			"wrong, and exits with 1, if the file cannot be used, with what --set and\n" +
			"--log-format put in place of it.",
		Example: "  dpifd check --config /etc/dpifd/dpifd.yaml\n  dpifd check -c /etc/dpifd/dpifd.yaml --set policy.type=flood -o json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := from.load()
			var mistakes config.Errors
			switch {
			case form == outputJSON && (err == nil || errors.As(err, &mistakes)):
				if printErr := printJSON(cmd.OutOrStdout(), checkResult(from.path, mistakes)); printErr != nil {
					return failed(printErr)
				}
				if err != nil {
					return failure{error: err, logged: true}
				}
			case err != nil:
				return failed(err)
			default:
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", from.path)
			}
			return nil
		},
	}
	from.flags(cmd)
	outputFlag(cmd, &form)
	return cmd
}

// mistake is one of a configuration. Line and Column are 0 where there is no
// place.
type mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

type checked struct {
	Config   string    `json:"config"`
	OK       bool      `json:"ok"`
	Mistakes []mistake `json:"mistakes"`
}

func checkResult(path string, errs config.Errors) checked {
	c := checked{Config: path, OK: len(errs) == 0, Mistakes: []mistake{}}
	for _, e := range errs {
		c.Mistakes = append(c.Mistakes, mistake{e.File, e.Line, e.Column, e.Msg})
	}
	return c
}
