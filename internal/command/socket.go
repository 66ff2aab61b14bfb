package command

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"dpifd/internal/control"

	"github.com/spf13/cobra"
)

// socketHelp is the end of the help text of commands that use a running daemon.
const socketHelp = "\n\nThe command asks the running daemon over its control socket: --socket, else\n" +
	"/run/dpifd/DATAPATH.sock, or without DATAPATH the only socket there. Root and members\n" +
	"of the group control.group may connect. Exits with 1 if no daemon answers."

// socketFlag adds --socket.
func socketFlag(cmd *cobra.Command, path *string) {
	cmd.Flags().StringVar(path, "socket", "", "`PATH` of the daemon's control socket")
}

// ask calls fn with a client of the daemon that serves a datapath, or of the only daemon if
// datapath is empty. SIGINT and SIGTERM end ctx. The error of fn is not a usage error.
func ask(path, datapath string, fn func(ctx context.Context, c *control.Client) error) error {
	if path == "" && datapath != "" {
		path = control.SocketPath(datapath)
	}
	if path == "" {
		var err error
		if path, err = control.FindSocket(control.Dir); err != nil {
			return failed(err)
		}
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c := control.NewClient(path)
	defer c.Close()
	return failed(fn(ctx, c))
}

// completeDatapath completes the first argument: the datapaths whose daemons have a socket.
func completeDatapath(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names, _ := control.Sockets(control.Dir) // none without permission
	return names, cobra.ShellCompDirectiveNoFileComp
}

// optional returns the first argument, "" if there is none.
func optional(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}
