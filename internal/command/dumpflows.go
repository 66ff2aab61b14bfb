package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/inspect"
	"dpifd/internal/odp"

	"github.com/spf13/cobra"
)

// flowFlags are the flags of commands that print flows.
type flowFlags struct {
	filter  string
	names   bool
	verbose bool
}

func (f *flowFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.filter, "filter", "", "only flows that `KEY` selects")
	cmd.Flags().BoolVar(&f.names, "names", false, "names of ports in place of their numbers (default with -m)")
	cmd.Flags().BoolVarP(&f.verbose, "more", "m", false, "wildcarded fields and UFIDs too")
}

// filterHelp explains --filter.
const filterHelp = "A flow passes --filter KEY, a key in the syntax of ovs-dpctl, if its own key has the\n" +
	"same value in each bit that KEY names; wildcarded bits count as zero. In KEY a port\n" +
	"may be given by its name."

// named reports whether ports are written by name.
func (f *flowFlags) named(cmd *cobra.Command) bool {
	return f.names || f.verbose && !cmd.Flags().Changed("names")
}

// text returns how flows of a datapath with these ports are written.
func (f *flowFlags) text(cmd *cobra.Command, ports map[odp.PortNo]string) odp.Text {
	t := odp.Text{Verbose: f.verbose}
	if f.named(cmd) {
		t.PortName = func(no odp.PortNo) string { return ports[no] }
	}
	return t
}

// parse reads the filter; ports may be named in it. No filter selects all.
func (f *flowFlags) parse(ports map[odp.PortNo]string) (want, mask []byte, err error) {
	if f.filter == "" {
		return nil, nil, nil
	}
	text := odp.Text{PortNumber: func(name string) (odp.PortNo, bool) {
		for no, n := range ports {
			if n == name {
				return no, true
			}
		}
		return 0, false
	}}
	if want, mask, err = text.ParseKey(f.filter); err != nil {
		return nil, nil, fmt.Errorf("--filter %s: %w", f.filter, err)
	}
	return want, mask, nil
}

func dumpFlowsCommand() *cobra.Command {
	var k kernel
	var f flowFlags
	cmd := &cobra.Command{
		Use:        "dump-flows [DATAPATH]",
		SuggestFor: []string{"flows"},
		Short:      "Print the flows that a datapath has",
		Long: "Print the flow table of a datapath of the kernel as ovs-dpctl dump-flows does, one\n" +
			"flow a line: key, packets, bytes, how long ago it was used, TCP flags seen, actions.\n" +
			"Without DATAPATH there must be only one.\n\n" + filterHelp + "\n\n" +
			"It does not matter who serves the datapath, nothing is changed, and no privilege is\n" +
			"needed.",
		Example: "  dpifd dump-flows\n  dpifd dump-flows dp0 --names --filter 'in_port(va),eth_type(0x0800),ipv4(dst=10.0.0.2)'\n" +
			"  dpifd dump-flows dp0 -o json | jq 'select(.packets > 1000) | .key'",
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var dump flowDump
			err := k.read(func(r *inspect.Reader) error {
				name, err := pick(r, args)
				if err != nil {
					return err
				}
				ports, err := r.Ports(name)
				if err != nil {
					return err
				}
				want, mask, err := f.parse(ports)
				if err != nil {
					return err
				}
				dump.text = inspect.FlowText{Text: f.text(cmd, ports)}
				dump.json = k.form == outputJSON
				return r.Flows(name, dump.clear, func(flow *dpif.Flow) error {
					if !odp.SelectsFlow(flow.Key, flow.Mask, want, mask) {
						return nil
					}
					return dump.add(flow)
				})
			})
			if err != nil {
				return refused("dump-flows", err)
			}
			return failed(dump.write(cmd.OutOrStdout()))
		},
	}
	f.add(cmd)
	kernelFlags(cmd, &k)
	return cmd
}

// refused is what a command of a name failed with. A wrong filter is a wrong
// command line.
func refused(name string, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	var syntax *odp.SyntaxError
	if errors.As(err, &syntax) {
		return err
	}
	return failed(err)
}

// flowDump collects the lines of a dump, which may start anew.
type flowDump struct {
	text  inspect.FlowText
	json  bool
	lines []byte
}

func (d *flowDump) clear() { d.lines = d.lines[:0] }

func (d *flowDump) add(f *dpif.Flow) (err error) {
	d.text.NowMS = clock.NowMS()
	if d.json {
		d.lines, err = d.text.AppendJSON(d.lines, f)
	} else {
		d.lines = d.text.Append(d.lines, f)
	}
	d.lines = append(d.lines, '\n')
	return err
}

func (d *flowDump) write(out io.Writer) error {
	w := bufio.NewWriter(out)
	if _, err := w.Write(d.lines); err != nil {
		return err
	}
	return w.Flush()
}
