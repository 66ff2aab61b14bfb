package command

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/inspect"
	"dpifd/internal/overview"

	"github.com/spf13/cobra"
)

var _ = register(statusCommand)

// errUnhealthy sets the exit code of status after the problems were printed.
var errUnhealthy = errors.New("the datapath is not healthy")

// statusInterval is the time between the two samples that status compares.
const statusInterval = time.Second

func statusCommand() *cobra.Command {
	var k kernel
	var socket string
	cmd := &cobra.Command{
		Use:   "status [DATAPATH]",
		Short: "Show a datapath, its ports and its health on one screen",
		Long: "Show a datapath on one screen: policy, flows, MACs, rates of the last second and\n" +
			"problems; for each port VLAN, link, MACs, rates, and packets dropped and lost. Part of\n" +
			"it comes from the kernel and needs no daemon, the rest from the daemon, over --socket\n" +
			"or /run/dpifd/DATAPATH.sock. Exits with 1 if there is a problem.",
		Example: "  dpifd status\n  dpifd status dp0 -o json | jq '.ports[] | select(.link != \"up\")'",
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var o *overview.Overview
			err := k.sample(socket, args, func(_ *inspect.Reader, take func() (*overview.Sample, error)) error {
				before, err := take()
				if err != nil {
					return err
				}
				time.Sleep(statusInterval)
				now, err := take()
				if err == nil {
					o = overview.New(before, now)
				}
				return err
			})
			if err != nil {
				return refused("status", err)
			}
			if k.form == outputJSON {
				err = printJSON(cmd.OutOrStdout(), o)
			} else {
				_, err = cmd.OutOrStdout().Write(o.AppendText(nil))
			}
			if err == nil && len(o.Problems) > 0 {
				return failure{error: errUnhealthy, logged: true}
			}
			return failed(err)
		},
	}
	kernelFlags(cmd, &k)
	socketFlag(cmd, &socket)
	return cmd
}

// sample calls fn with a function that reads samples of the datapath that args name, or of the
// only one.
func (k *kernel) sample(socket string, args []string,
	fn func(r *inspect.Reader, take func() (*overview.Sample, error)) error) error {
	return k.read(func(r *inspect.Reader) error {
		name, err := pick(r, args)
		if err != nil {
			return err
		}
		if socket == "" {
			socket = control.SocketPath(name)
		}
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		c := control.NewClient(socket)
		defer c.Close()
		return fn(r, func() (*overview.Sample, error) { return overview.Take(ctx, r, name, c) })
	})
}
