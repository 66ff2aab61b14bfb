package command

import (
	"errors"
	"fmt"

	"dpifd/internal/config"

	"github.com/spf13/cobra"
)

var _ = register(checkCommand)

func checkCommand() *cobra.Command {
	var from source
	var form output
	cmd := &cobra.Command{
		Use:   "check [FILE|-]",
		Short: "Check a configuration file without touching the kernel",
		Long: "Check a configuration file without touching the kernel. If the file cannot be used,\n" +
			"each mistake is printed with its line and column, and the exit code is 1.\n" +
			"--set and --log-format replace what the file says, as they do for `dpifd run`.\n" +
			"- is standard input.",
		Example: "  dpifd check /etc/dpifd/dpifd.yaml\n  dpifd check /etc/dpifd/dpifd.yaml --set policy.type=flood -o json\n" +
			"  ssh host cat /etc/dpifd/dpifd.yaml | dpifd check -",
		Args: func(cmd *cobra.Command, args []string) error {
			switch named := cmd.Flags().Changed("config"); {
			case named && len(args) > 0:
				return fmt.Errorf("two configuration files: %s and %s", from.path, args[0])
			case !named && len(args) == 0:
				return errors.New("the configuration file is missing: FILE, --config FILE, or - for standard input")
			}
			return arguments(0, 1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				from.path = args[0]
			}
			_, err := from.read(cmd.InOrStdin())
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
