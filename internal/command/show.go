package command

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/endpoint"
	"dpifd/internal/inspect"
	"dpifd/internal/netns"

	"github.com/spf13/cobra"
)

// kernel are the flags of commands that read datapaths from the kernel.
type kernel struct {
	netns string
	form  output
}

func kernelFlags(cmd *cobra.Command, k *kernel) {
	outputFlag(cmd, &k.form)
	cmd.Flags().StringVar(&k.netns, "netns", "", "network namespace: `NAME` or path (default: the current one)")
	cmd.ValidArgsFunction = func(_ *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		var names []string
		if len(args) > 0 || k.read(func(r *inspect.Reader) (err error) { names, err = r.Names(); return err }) != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return names, cobra.ShellCompDirectiveNoFileComp
	}
}

// read calls fn with a reader of the network namespace.
func (k *kernel) read(fn func(r *inspect.Reader) error) error {
	return netns.Do(k.netns, func() error {
		r, err := inspect.NewReader()
		if err != nil {
			return err
		}
		defer r.Close()
		return fn(r)
	})
}

var _ = register(showCommand)

func showCommand() *cobra.Command {
	var k kernel
	var statistics bool
	var again repeat
	cmd := &cobra.Command{
		Use:   "show [DATAPATH]",
		Short: "Show datapaths, their ports and upcall sockets",
		Long: "Show the kernel's datapaths, or one: lookups, flows and masks, user features, ports,\n" +
			"and the upcall sockets: port id (pid), memory of waiting messages (queued), messages\n" +
			"that found the queue full (drops), frames in use of a ring (ring; if dpifd has rings\n" +
			"and this user may ask it), and owner, as far as this user may see it.\n\n" +
			"show works with any program that serves the datapath, changes nothing and needs no\n" +
			"privilege. The kernel loads its module openvswitch if necessary.",
		Example: "  dpifd show\n  dpifd show dp0 -s\n  dpifd show --netns blue -o json | jq '.[].ports[].stats'",
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return again.do(cmd.OutOrStdout(), func() error {
				list := []inspect.Datapath{}
				err := k.read(func(r *inspect.Reader) (err error) {
					if len(args) == 0 {
						list, err = r.Datapaths()
						return err
					}
					d, err := r.Datapath(args[0])
					list = append(list, d)
					return err
				})
				if err != nil {
					return failed(fmt.Errorf("show: %w", err))
				}
				for i := range list {
					askRings(cmd.Context(), &list[i])
				}
				if k.form == outputJSON {
					return failed(printJSON(cmd.OutOrStdout(), list))
				}
				var text []byte
				for i := range list {
					text = list[i].AppendText(text, statistics)
				}
				_, err = cmd.OutOrStdout().Write(text)
				return failed(err)
			})
		},
	}
	again.flag(cmd)
	cmd.Flags().BoolVarP(&statistics, "statistics", "s", false, "also print the counters of ports (JSON always has them)")
	kernelFlags(cmd, &k)
	return cmd
}

// ringsTimeout limits the wait for a daemon that may not answer.
const ringsTimeout = time.Second

// askRings asks the daemon that serves the datapath, if one answers, for the fill of its rings.
func askRings(ctx context.Context, d *inspect.Datapath) {
	ctx, cancel := context.WithTimeout(ctx, ringsTimeout)
	defer cancel()
	c := control.NewClient(control.SocketPath(d.Name))
	defer c.Close()
	all, err := endpoint.GetRings.Ask(ctx, c, control.None{})
	if err != nil {
		return // show does not depend on a daemon
	}
	for _, r := range all.Rings {
		d.SetRing(all.PID, r.UpcallPID, inspect.Ring{Frames: r.Frames, Used: r.Used})
	}
}

// pick returns the datapath that args name or, without one, the only one.
func pick(r *inspect.Reader, args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	names, err := r.Names()
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return "", errors.New("there is no datapath")
	case len(names) > 1:
		return "", fmt.Errorf("there are several datapaths, name one: %s", strings.Join(names, ", "))
	}
	return names[0], nil
}
