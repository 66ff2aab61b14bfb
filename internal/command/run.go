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

func runCommand() *cobra.Command {
	var path string
	cmd := &cobra.Command{
		Use:   "run --config FILE",
		Short: "Serve the configured datapath until SIGTERM or SIGINT",
		Long: "Serve the configured datapath until SIGTERM or SIGINT. SIGHUP has the file read\n" +
			"again; one that cannot be used changes nothing. SIGUSR2 has the program started\n" +
			"anew without losing a packet: in the same process or, where a service manager\n" +
			"keeps its sockets, by that, once it has ended. The log goes to standard error,\n" +
			"one event a line. Needs CAP_NET_ADMIN, and CAP_SYS_ADMIN if the\n" +
			"configuration names a network namespace.",
		Example: "  dpifd run --config /etc/dpifd/dpifd.yaml",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			inherited := fdstore.Inherited()
			cfg, err := config.Load(path)
			if err != nil {
				return failed(err)
			}
			ctx, stop := signalContext()
			defer stop()
			reload := make(chan os.Signal, 1)
			signal.Notify(reload, syscall.SIGHUP)
			defer signal.Stop(reload)
			restart := make(chan os.Signal, 1)
			signal.Notify(restart, syscall.SIGUSR2)
			defer signal.Stop(restart)
			next := successor{config: path, reload: reload}
			err = daemon.Run(ctx, daemon.Options{Config: cfg, ConfigPath: path, Version: version(), Log: os.Stderr, Priorities: toJournal(), Reload: reload,
				Inherited: inherited, Restart: restart, Check: next.check, Exec: next.exec})
			if err != nil {
				return failure{error: err, logged: true}
			}
			return nil
		},
	}
	configFlag(cmd, &path)
	return cmd
}

// toJournal reports whether standard error is a stream of the journal. Where
// that cannot be told it is not.
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
