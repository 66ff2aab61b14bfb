package command

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"dpifd/internal/dpif"
	"dpifd/internal/edit"
	"dpifd/internal/inspect"
	"dpifd/internal/netns"
	"dpifd/internal/odp"

	"github.com/spf13/cobra"
)

// change is the common part of commands that change a datapath of the kernel.
type change struct {
	kernel kernel
	yes    bool
}

// changeHelp is the end of their help texts.
const changeHelp = "\n\nThe command asks the kernel, needs no daemon, and needs CAP_NET_ADMIN. It does not\n" +
	"change the user features of the datapath."

func (c *change) flags(cmd *cobra.Command) {
	kernelFlags(cmd, &c.kernel)
	cmd.Flags().BoolVarP(&c.yes, "yes", "y", false, "confirm that traffic may stop")
}

// errConfirm is the usage error of a command that would stop traffic and lacks --yes.
type errConfirm struct{ harm string }

func (e errConfirm) Error() string { return e.harm + "; to do it all the same, add --yes" }

// confirm returns an errConfirm unless --yes is given.
func (c *change) confirm(format string, args ...any) error {
	if c.yes {
		return nil
	}
	return errConfirm{fmt.Sprintf(format, args...)}
}

// run opens the datapath of a name, calls fn, and prints what it returns.
func (c *change) run(cmd *cobra.Command, name string, fn func(e *edit.Editor) (done, error)) error {
	var result done
	err := netns.Do(c.kernel.netns, func() error {
		e, err := edit.Open(name)
		if err != nil {
			return err
		}
		defer e.Close()
		result, err = fn(e)
		return err
	})
	var confirm errConfirm
	switch {
	case errors.As(err, &confirm):
		return err
	case err != nil:
		return refused(cmd.Name(), err)
	case c.kernel.form == outputJSON:
		return failed(printJSON(cmd.OutOrStdout(), result))
	}
	_, err = fmt.Fprintln(cmd.OutOrStdout(), result.text)
	return failed(err)
}

// done is what a command has changed.
type done struct {
	Datapath string      `json:"datapath"`
	Port     string      `json:"port,omitempty"`
	PortNo   *odp.PortNo `json:"port_no,omitempty"`
	Flows    *int        `json:"flows,omitempty"` // deleted

	text string
}

// servers returns the names of the processes that receive upcalls of a datapath, as far as this
// user may see them, "" if there are none.
func servers(k *kernel, name string) (string, error) {
	var d inspect.Datapath
	if err := k.read(func(r *inspect.Reader) (err error) { d, err = r.Datapath(name); return err }); err != nil {
		return "", err
	}
	sockets := slices.Clone(d.PerCPU)
	for _, p := range d.Ports {
		sockets = append(sockets, p.Sockets...)
	}
	var owners []string
	unseen := false
	for _, s := range sockets {
		unseen = unseen || s.PID != 0 && len(s.Owners) == 0
		for _, o := range s.Owners {
			owners = append(owners, o.String())
		}
	}
	slices.Sort(owners)
	owners = slices.Compact(owners)
	if len(owners) == 0 && unseen {
		return "a process that this user cannot see", nil
	}
	return strings.Join(owners, ", "), nil
}

var _ = register(delDPCommand)

func delDPCommand() *cobra.Command {
	var c change
	cmd := &cobra.Command{
		Use:   "del-dp DATAPATH --yes",
		Short: "Delete a datapath with its ports and flows",
		Long: "Delete a datapath with its ports and flows. Internal ports are deleted with their\n" +
			"addresses; other devices stay. If a dpifd with datapath.create serves the datapath, it\n" +
			"creates it again at once: stop it first." + changeHelp,
		Example: "  dpifd del-dp dp0 --yes\n  dpifd del-dp dp0 --yes --netns blue",
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0], func(e *edit.Editor) (done, error) {
				owner, err := servers(&c.kernel, args[0])
				if err != nil {
					return done{}, err
				}
				err = c.confirm("deletes %s, which %s serves, with its ports and flows", args[0], cmp.Or(owner, "nobody"))
				if err != nil {
					return done{}, err
				}
				return done{Datapath: args[0], text: args[0] + " deleted"}, e.DeleteDatapath()
			})
		},
	}
	c.flags(cmd)
	return cmd
}

var _ = register(delFlowsCommand)

func delFlowsCommand() *cobra.Command {
	var c change
	var filter flowFlags
	cmd := &cobra.Command{
		Use:   "del-flows DATAPATH [--filter KEY]",
		Short: "Delete flows of a datapath",
		Long: "Delete the flows of a datapath, or those that --filter selects. The daemon that serves\n" +
			"it installs them again with the next packets, and static flows within a second (event\n" +
			"static_flow_restored). --yes is required without --filter, or if nobody serves the\n" +
			"datapath: all packets then become upcalls, or are lost.\n\n" +
			filterHelp + changeHelp,
		Example: "  dpifd del-flows dp0 --filter 'in_port(va)'\n" +
			"  dpifd del-flows dp0 --filter 'eth_type(0x0800),ipv4(dst=10.0.0.2)'\n" +
			"  dpifd del-flows dp0 --yes",
		Args: arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0], func(e *edit.Editor) (done, error) {
				want, mask, err := filter.read(&c.kernel, args[0])
				if err != nil {
					return done{}, err
				}
				owner, err := servers(&c.kernel, args[0])
				switch {
				case err != nil:
				case owner == "":
					err = c.confirm("nobody serves %s: packets of deleted flows are lost", args[0])
				case filter.filter == "":
					err = c.confirm("deletes all flows of %s: the packets of all flows come up to %s together", args[0], owner)
				}
				if err != nil {
					return done{}, err
				}
				if filter.filter == "" {
					return done{Datapath: args[0], text: "all flows deleted"}, e.FlushFlows()
				}
				n, err := e.DeleteFlows(func(f *dpif.Flow) bool { return odp.SelectsFlow(f.Key, f.Mask, want, mask) })
				return done{Datapath: args[0], Flows: &n, text: fmt.Sprintf("%d flows deleted", n)}, err
			})
		},
	}
	cmd.Flags().StringVar(&filter.filter, "filter", "", "delete only flows that `KEY` selects")
	c.flags(cmd)
	return cmd
}

// read parses the filter with the names of a datapath's ports.
func (f *flowFlags) read(k *kernel, name string) (want, mask []byte, err error) {
	err = k.read(func(r *inspect.Reader) error {
		ports, err := r.Ports(name)
		if err == nil {
			want, mask, err = f.parse(ports)
		}
		return err
	})
	return want, mask, err
}

var _ = register(addPortCommand)

func addPortCommand() *cobra.Command {
	var c change
	var internal bool
	cmd := &cobra.Command{
		Use:   "add-port DATAPATH DEVICE",
		Short: "Attach a device to a datapath, or create an internal port",
		Long: "Attach a network device to a datapath, or create an internal port. A dpifd that serves\n" +
			"the datapath uses the settings of its configuration for the port, by name or pattern.\n" +
			"A port without an entry there carries nothing, or all VLANs (ports_unlisted).\n\n" +
			"The host does not answer on a device that is a port, so a device with an address needs\n" +
			"--yes. Move the address to the datapath's local port." + changeHelp,
		Example: "  dpifd add-port dp0 eth1\n  dpifd add-port dp0 int0 --internal",
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0], func(e *edit.Editor) (done, error) {
				kind := dpif.VportNetdev
				if internal {
					kind = dpif.VportInternal
				} else if addrs := edit.HostAddresses(args[1]); len(addrs) > 0 {
					if err := c.confirm("the host no longer answers at %s of %s", strings.Join(addrs, ", "), args[1]); err != nil {
						return done{}, err
					}
				}
				no, err := e.AddPort(args[1], kind)
				return done{Datapath: args[0], Port: args[1], PortNo: &no,
					text: fmt.Sprintf("%s is port %d of %s", args[1], no, args[0])}, err
			})
		},
	}
	cmd.Flags().BoolVar(&internal, "internal", false, "create an internal port")
	c.flags(cmd)
	return cmd
}

var _ = register(delPortCommand)

func delPortCommand() *cobra.Command {
	var c change
	cmd := &cobra.Command{
		Use:   "del-port DATAPATH PORT --yes",
		Short: "Detach a port from a datapath",
		Long: "Detach a port from a datapath. Its device stays; an internal port is deleted with its\n" +
			"addresses. If the configuration of a dpifd that serves the datapath lists the port,\n" +
			"dpifd attaches it again: remove it there first and reload." + changeHelp,
		Example: "  dpifd del-port dp0 eth1 --yes",
		Args:    arguments(2, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.run(cmd, args[0], func(e *edit.Editor) (done, error) {
				v, err := e.Port(args[1])
				if err != nil {
					return done{}, err
				}
				if v.No == 0 {
					return done{}, fmt.Errorf("%s is the local port of %s, which can only be deleted with the datapath",
						args[1], args[0])
				}
				if err := c.confirm("traffic of port %s stops", args[1]); err != nil {
					return done{}, err
				}
				return done{Datapath: args[0], Port: args[1], PortNo: &v.No,
					text: fmt.Sprintf("%s is no longer a port of %s", args[1], args[0])}, e.DeletePort(v.No)
			})
		},
	}
	c.flags(cmd)
	return cmd
}
