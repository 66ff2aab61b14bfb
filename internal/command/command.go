package command

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
)

// Exit codes: success, something failed, the command line is wrong.
const (
	exitOK = iota
	exitFailure
	exitUsage
)

// failure marks errors that are not about the command line.
type failure struct {
	error
	logged bool // already logged
}

func (f failure) Unwrap() error { return f.error }

// failed marks err as not being about the command line; nil stays nil.
func failed(err error) error {
	if err == nil {
		return nil
	}
	return failure{error: err}
}

// Execute runs the command in args, which are without the program's name, and returns the exit
// code. Errors are printed on standard error.
func Execute(args []string) int {
	cmd := New()
	cmd.SetArgs(args)
	at, err := cmd.ExecuteC()
	var f failure
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &f):
		if !f.logged {
			fmt.Fprintln(os.Stderr, err)
		}
		return exitFailure
	default:
		fmt.Fprintf(os.Stderr, "%s: %v\nRun '%[1]s --help' for usage.\n", at.CommandPath(), err)
		return exitUsage
	}
}

// commands create the commands below dpifd.
var commands []func() *cobra.Command

// register adds a command below dpifd. Each command registers itself while the package is
// initialised.
func register(command func() *cobra.Command) struct{} {
	commands = append(commands, command)
	return struct{}{}
}

// New returns the tree of commands.
func New() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dpifd",
		Short: "Userspace for the Linux Open vSwitch kernel datapath",
		Long: "dpifd is a layer 2 switch on the openvswitch kernel datapath. It receives the packets\n" +
			"that match no flow, decides, forwards them and installs flows, without ovs-vswitchd\n" +
			"and ovsdb-server. Commands exit with 0 on success, 1 if something failed, and 2 if\n" +
			"the command line is wrong.",
		Example:       "  dpifd check --config /etc/dpifd/dpifd.yaml\n  dpifd run --config /etc/dpifd/dpifd.yaml",
		Version:       version(),
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	group(cmd)
	cmd.SetVersionTemplate("dpifd {{.Version}}\n")
	cmd.SetFlagErrorFunc(flagError)
	cmd.SetHelpCommand(helpCommand())
	for _, command := range commands {
		cmd.AddCommand(command())
	}
	cmd.InitDefaultCompletionCmd()
	for _, sub := range cmd.Commands() {
		if sub.Name() == "completion" {
			group(sub)
		}
	}
	return cmd
}
