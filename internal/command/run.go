package command

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"dpifd/internal/config"
	"dpifd/internal/daemon"
	"dpifd/internal/fdstore"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/spf13/cobra"
)

var _ = register(runCommand)

func runCommand() *cobra.Command {
	var from source
	cmd := &cobra.Command{
		Use:        "run --config FILE",
		SuggestFor: []string{"start", "serve"},
		Short:      "Serve the configured datapath until SIGTERM or SIGINT",
		Long: "Serve the configured datapath until SIGTERM or SIGINT. The log goes to standard error,\n" +
			"one event per line.\n\n" +
			"SIGHUP: read the file again; a file with a mistake changes nothing. SIGUSR2: restart\n" +
			"without losing upcalls, in the same process or through the service manager if it keeps\n" +
			"the sockets. SIGUSR1: log the state: ports, sockets, limits, MACs and the\n" +
			"configuration in force.\n\n" +
			"--set and --log-format override keys of the file, also at each reload. Needs\n" +
			"CAP_NET_ADMIN, and CAP_SYS_ADMIN if the configuration names a network namespace.",
		Example: "  dpifd run --config /etc/dpifd/dpifd.yaml\n" +
			"  dpifd run -c /etc/dpifd/dpifd.yaml --set log.level=debug --set 'ports=[{name: eth1}]' --log-format console",
		Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			inherited := fdstore.Inherited()
			cfg, err := from.load()
			if err != nil {
				partial := config.Partial(from.path, from.overrides()...)
				daemon.Fail(daemon.Options{Config: partial, Log: os.Stderr, Priorities: toJournal()}, err)
				readable := partial.Log.Format == config.FormatConsole || !onTerminal(os.Stderr)
				return failure{error: err, logged: readable}
			}
			ctx, stop := signalContext()
			defer stop()
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			dump := make(chan os.Signal, 1)
			signal.Notify(dump, syscall.SIGUSR1)
			defer signal.Stop(dump)
			restart := make(chan os.Signal, 1)
			signal.Notify(restart, syscall.SIGUSR2)
			defer signal.Stop(restart)
			// If the log's reader is gone, writes fail instead of killing the daemon.
			signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
			next := successor{from: &from, reload: reload, dump: dump}
			err = daemon.Run(ctx, daemon.Options{Config: cfg, ConfigPath: from.path, Overrides: from.overrides(),
				Version: version(), Log: os.Stderr, Priorities: toJournal(), Reload: reload, Dump: dump,
				Inherited: inherited, Restart: restart, Check: next.check, Exec: next.exec})
			if err != nil {
				return failure{error: err, logged: true}
			}
			return nil
		},
	}
	from.flags(cmd)
	if err := cmd.MarkFlagRequired("config"); err != nil {
		panic(err) // the flag was defined above
	}
	return cmd
}

// toJournal reports whether standard error is a stream of the journal, false if that is
// unknown.
func toJournal() bool {
	is, err := journal.StderrIsJournalStream()
	return err == nil && is
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
