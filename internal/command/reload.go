package command

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"

	"dpifd/internal/config"
	"dpifd/internal/control"
	"dpifd/internal/endpoint"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

var _ = register(reloadCommand)

func reloadCommand() *cobra.Command {
	var form output
	var socket, file string
	cmd := &cobra.Command{
		Use:   "reload [DATAPATH]",
		Short: "Make a running daemon read its configuration file again",
		Long: "Make a running daemon read its configuration file again, wait, and print which keys\n" +
			"changed and which need a restart. A file with mistakes changes nothing: they are\n" +
			"printed, and the exit code is 1. Ports are attached and detached after the answer; see\n" +
			"`dpifd status`.\n\n" +
			"--config FILE asks the daemon whose control socket FILE names. In ExecReload of a unit\n" +
			"this is the unit's daemon, whatever FILE names; if that daemon has no control socket,\n" +
			"the command checks FILE and sends SIGHUP." + socketHelp,
		Example:           "  dpifd reload\n  dpifd check /etc/dpifd/dpifd.yaml --diff && dpifd reload dp0",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			if file != "" {
				if socket = socketOf(config.Partial(file)); inService() {
					socket = serviceSocket(socket)
				}
				if socket == "" {
					return failed(hangUp(file))
				}
			}
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				done, err := endpoint.Reload.Ask(ctx, c, control.None{})
				if err != nil {
					return err
				}
				if form == outputJSON {
					return printJSON(cmd.OutOrStdout(), done)
				}
				_, err = fmt.Fprint(cmd.OutOrStdout(), reloadText(done))
				return err
			})
		},
	}
	cmd.Flags().StringVarP(&file, "config", "c", "", "configuration `FILE` of the daemon to ask")
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

// reloadText describes what a reload has changed.
func reloadText(r endpoint.Reloaded) string {
	text := r.Config + ": nothing changed\n"
	if len(r.Changed) > 0 {
		text = fmt.Sprintf("%s: changed %s\n", r.Config, strings.Join(r.Changed, ", "))
	}
	if len(r.Ignored) > 0 {
		text += fmt.Sprintf("%s: unchanged until a restart: %s\n", r.Config, strings.Join(r.Ignored, ", "))
	}
	return text
}

// socketOf returns the path of the control socket of a daemon with the configuration, "" if it
// cannot be derived.
func socketOf(c *config.Config) string {
	switch {
	case c.Control.Socket == config.ControlOff:
		return ""
	case c.Control.Socket != config.ControlAuto:
		return c.Control.Socket
	case c.Datapath.Name == "":
		return ""
	}
	return control.SocketPath(c.Datapath.Name)
}

// mainPID is the process id of the unit's daemon, which systemd sets in $MAINPID
// for ExecReload (systemd.exec(5)), 0 elsewhere.
func mainPID() int {
	pid, err := strconv.Atoi(os.Getenv("MAINPID"))
	if err != nil {
		return 0
	}
	return pid
}

func inService() bool { return mainPID() > 1 }

// serviceSocket returns the control socket of the unit's daemon: the one for path, or else one in
// the directory of sockets; "" if there is none.
func serviceSocket(path string) string {
	paths := []string{path}
	names, _ := control.Sockets(control.Dir) // none without permission
	for _, name := range names {
		paths = append(paths, control.SocketPath(name))
	}
	for _, p := range paths {
		if pid, err := control.Listener(p); err == nil && pid == mainPID() {
			return p
		}
	}
	return ""
}

// hangUp makes a daemon without a control socket read the file, after checking it.
func hangUp(file string) error {
	if _, err := config.Load(file); err != nil {
		return err
	}
	if !inService() {
		return fmt.Errorf("%s names no control socket: send SIGHUP to the daemon, and see the log for the result", file)
	}
	return unix.Kill(mainPID(), unix.SIGHUP)
}
