package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/policyswitch"
	"dpifd/internal/probe"

	textdiff "github.com/rogpeppe/go-internal/diff"
	"github.com/spf13/cobra"
)

var _ = register(checkCommand)

func checkCommand() *cobra.Command {
	var from source
	var form output
	var socket string
	var diff, kernel bool
	cmd := &cobra.Command{
		Use:   "check [FILE|-]",
		Short: "Check a configuration file",
		Long: "Check a configuration file, without touching the kernel. If it has mistakes, print each\n" +
			"with line and column, and exit with 1. --set and --log-format override keys of the\n" +
			"file, as with `dpifd run`. - is standard input.\n\n" +
			"--diff also prints what a reload would change: it compares the file with the\n" +
			"configuration in force, which it gets from the running daemon over the control socket\n" +
			"that the file names, or over --socket.\n\n" +
			"--kernel also gives all static flows and storm limits to the kernel, on a temporary\n" +
			"datapath in a temporary network namespace, which needs CAP_SYS_ADMIN and\n" +
			"CAP_NET_ADMIN. What the kernel refuses counts as a mistake of the file.",
		Example: "  dpifd check /etc/dpifd/dpifd.yaml\n" +
			"  dpifd check /etc/dpifd/dpifd.yaml --set policy.type=flood -o json\n" +
			"  dpifd check /etc/dpifd/dpifd.yaml --diff\n" +
			"  dpifd check /etc/dpifd/dpifd.yaml --kernel\n" +
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
			var tried *probe.Tried
			var try config.Check
			if kernel {
				try = func(c *config.Config, refuse func(string, error)) error {
					n, err := probe.Configuration(c, refuse)
					tried = &n
					return err
				}
			}
			next, err := from.read(cmd.InOrStdin(), try)
			var mistakes config.Errors
			var changes *difference
			if err == nil && diff {
				if changes, err = compare(cmp.Or(socket, socketOf(next)), from.path, next); err != nil {
					return err
				}
			}
			switch {
			case form == outputJSON && (err == nil || errors.As(err, &mistakes)):
				result := checkResult(from.path, mistakes)
				result.Reload, result.Kernel = changes, tried
				result.Warnings = warnings(next, err)
				if printErr := printJSON(cmd.OutOrStdout(), result); printErr != nil {
					return failed(printErr)
				}
				if err != nil {
					return failure{error: err, logged: true}
				}
			case err != nil:
				return failed(err)
			default:
				for _, w := range warnings(next, nil) {
					fmt.Fprintf(cmd.OutOrStdout(), "%s: warning: %s\n", from.path, w)
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n%s", from.path, changes.text())
				if tried != nil {
					fmt.Fprintf(cmd.OutOrStdout(), "the kernel takes its %d static flows and %d meters\n",
						tried.StaticFlows, tried.Meters)
				}
			}
			return nil
		},
	}
	from.flags(cmd)
	cmd.Flags().BoolVar(&diff, "diff", false, "print what a reload of the running daemon would change")
	cmd.Flags().BoolVar(&kernel, "kernel", false, "try static flows and storm limits on a temporary datapath")
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

// warnings returns settings that are valid but may have unexpected effects. There are none for an
// invalid configuration.
func warnings(cfg *config.Config, mistakes error) (list []string) {
	if mistakes != nil {
		return nil
	}
	if w := policyswitch.FloodWarning(cfg); w != "" {
		list = append(list, w)
	}
	return list
}

// difference is what a reload would change.
type difference struct {
	Changed []string `json:"changed"` // top-level keys
	Ignored []string `json:"ignored"` // keys that require a restart
	Diff    string   `json:"diff"`    // of all keys, unified
}

// compare requests the configuration of the daemon at a socket, and returns what a reload with next
// would change.
func compare(socket, path string, next *config.Config) (*difference, error) {
	var in endpoint.InForce
	err := ask(socket, "", func(ctx context.Context, c *control.Client) (err error) {
		in, err = endpoint.GetConfig.Ask(ctx, c, control.None{})
		return err
	})
	if err != nil {
		return nil, err
	}
	was, err := config.Parse("the configuration in force", []byte(in.YAML))
	if err != nil {
		return nil, failed(fmt.Errorf("the daemon has another version of dpifd: %w", err))
	}
	diff := string(textdiff.Diff("in force", []byte(in.YAML), path, next.Effective()))
	_, text, _ := strings.Cut(diff, "\n") // without diff's command
	ignored, changed := config.ReloadChanges(next, was)
	return &difference{changed, ignored, text}, nil
}

// text returns what check prints, "" if nothing was compared.
func (d *difference) text() string {
	switch {
	case d == nil:
		return ""
	case d.Diff == "":
		return "a reload would change nothing\n"
	}
	text := d.Diff
	if len(d.Changed) > 0 {
		text += "a reload would change " + strings.Join(d.Changed, ", ") + "\n"
	}
	if len(d.Ignored) > 0 {
		text += "needs a restart: " + strings.Join(d.Ignored, ", ") + "\n"
	}
	return text
}

// mistake is a mistake of a configuration. Line and Column are 0 if there is no place.
type mistake struct {
	File    string `json:"file"`
	Line    int    `json:"line"`
	Column  int    `json:"column"`
	Message string `json:"message"`
}

type checked struct {
	Config   string       `json:"config"`
	OK       bool         `json:"ok"`
	Mistakes []mistake    `json:"mistakes"`
	Reload   *difference  `json:"reload,omitempty"`   // with --diff
	Kernel   *probe.Tried `json:"kernel,omitempty"`   // with --kernel
	Warnings []string     `json:"warnings,omitempty"` // about valid settings
}

func checkResult(path string, errs config.Errors) checked {
	c := checked{Config: path, OK: len(errs) == 0, Mistakes: []mistake{}}
	for _, e := range errs {
		c.Mistakes = append(c.Mistakes, mistake{e.File, e.Line, e.Column, e.Msg})
	}
	return c
}
