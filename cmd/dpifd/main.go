// Command dpifd services the upcalls of an openvswitch kernel datapath.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"dpifd/internal/config"
	"dpifd/internal/daemon"

	"github.com/spf13/cobra"
)

// Exit codes: everything went well, something failed, the command line is
// wrong.
const (
	exitOK = iota
	exitFailure
	exitUsage
)

func main() { os.Exit(execute(os.Args[1:])) }

// failure marks errors that are not about the command line.
type failure struct {
	error
	logged bool // the log has it
}

func (f failure) Unwrap() error { return f.error }

func execute(args []string) int {
	cmd := rootCommand()
	cmd.SetArgs(args)
	err := cmd.Execute()
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
		fmt.Fprintf(os.Stderr, "dpifd: %v\nRun 'dpifd --help' for usage.\n", err)
		return exitUsage
	}
}

func rootCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dpifd",
		Short: "Userspace for the Linux Open vSwitch kernel datapath",
		Long: "dpifd services the upcalls of an openvswitch kernel datapath: it receives the\n" +
			"packets that match no flow, decides, forwards them and installs flows, without\n" +
			"ovsdb-server or ovs-vswitchd.",
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return errors.New("a command is missing")
		},
	}
	cmd.CompletionOptions.HiddenDefaultCmd = true
	cmd.AddCommand(runCommand(), checkCommand(), versionCommand(), odpCommand())
	return cmd
}

// configFlag adds --config, which must be given.
func configFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVarP(path, "config", "c", "", "configuration `FILE` (required)")
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag was defined in the line before
	}
}

func runCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Serve the configured datapath until SIGTERM or SIGINT",
		Long: "Serve the configured datapath until SIGTERM or SIGINT. SIGHUP has the file read\n" +
			"again; one that cannot be used changes nothing. The log goes to standard error,\n" +
			"one event a line. Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN if the\n" +
			"configuration names a network namespace.",
		Example: "  dpifd run --config /etc/dpifd/dpifd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			cfg, err := config.Load(path)
			if err != nil {
				return failure{error: err}
			}
			ctx, stop := signalContext()
			defer stop()
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			err = daemon.Run(ctx, daemon.Options{Config: cfg, ConfigPath: path, Version: version(), Log: os.Stderr, Reload: reload})
			if err != nil {
				return failure{error: err, logged: true}
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// signalContext returns a context that SIGTERM or SIGINT ends, with the
// signal as its cause. A second signal kills the process.
func signalContext() (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, syscall.SIGINT)
	go func() {
		select {
		case s := <-signals:
			signal.Stop(signals)
			cancel(fmt.Errorf("signal: %s", s))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { signal.Stop(signals); cancel(nil) }
}

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
				return failure{error: err}
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s: ok\n", path)
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintf(cmd.OutOrStdout(), "dpifd %s\n", version())
			return err
		},
	}
}

// version is the module's version or, built from a checkout, its revision.
func version() string {
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
	return v + " " + info.GoVersion
}
