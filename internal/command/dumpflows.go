package command

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/inspect"
	"dpifd/internal/odp"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"
)

// flowFlags are the flags of commands that print flows.
type flowFlags struct {
	filter  string
	names   bool
	verbose bool
}

func (f *flowFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.filter, "filter", "", "print only flows that `KEY` selects")
	cmd.Flags().BoolVar(&f.names, "names", false, namesHelp+" (default on a terminal and with -m)")
	cmd.Flags().BoolVarP(&f.verbose, "more", "m", false, "also print wildcarded fields and UFIDs")
}

// namesHelp explains --names.
const namesHelp = "print names of ports instead of numbers"

// namesFlag adds --names to a command without flowFlags.
func namesFlag(cmd *cobra.Command, names *bool) {
	cmd.Flags().BoolVar(names, "names", false, namesHelp+" (default on a terminal)")
}

// named reports whether ports are written by name.
func named(cmd *cobra.Command, names bool) bool {
	return names || !cmd.Flags().Changed("names") && onTerminal(cmd.OutOrStdout())
}

// filterHelp explains --filter.
const filterHelp = "--filter KEY selects flows whose key has the same value in each bit that KEY names. KEY\n" +
	"is in the syntax of ovs-dpctl; ports are numbers or names. Wildcarded bits of a flow\n" +
	"count as zero."

// named reports whether ports are written by name.
func (f *flowFlags) named(cmd *cobra.Command) bool {
	return named(cmd, f.names) || !cmd.Flags().Changed("names") && f.verbose
}

// onTerminal reports whether w is a terminal.
func onTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
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

var _ = register(dumpFlowsCommand)

func dumpFlowsCommand() *cobra.Command {
	var k kernel
	var f flowFlags
	var dump flowDump
	cmd := &cobra.Command{
		Use:        "dump-flows [DATAPATH]",
		SuggestFor: []string{"flows"},
		Short:      "Print the flows of a datapath",
		Long: "Print the flow table of a datapath as ovs-dpctl dump-flows does, one flow per line:\n" +
			"key, packets, bytes, time since last use, TCP flags seen, actions. DATAPATH may be\n" +
			"left out if there is only one.\n\n" +
			filterHelp + "\n\nIf no flow is selected, standard error shows how many flows wildcard a field that KEY\n" +
			"names: the packets may use these.\n\n" +
			"--sort prints the flows with the most packets or bytes, or the most recently used,\n" +
			"first. --top N prints N flows, by bytes unless --sort is given.\n\n" +
			"dump-flows works with any program that serves the datapath, changes nothing and needs\n" +
			"no privilege.",
		Example: "  dpifd dump-flows\n" +
			"  dpifd dump-flows dp0 --names --filter 'in_port(va),eth_type(0x0800),ipv4(dst=10.0.0.2)'\n" +
			"  dpifd dump-flows dp0 --sort packets --top 10\n" +
			"  dpifd dump-flows dp0 -o json | jq 'select(.packets > 1000) | .key'",
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("top") && dump.top < 1 {
				return errors.New("--top: want a number from 1")
			}
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
					dump.seen++
					if odp.SelectsFlow(flow.Key, flow.Mask, want, mask) {
						return dump.add(flow)
					}
					if odp.Intersects(flow.Key, flow.Mask, want, mask) {
						dump.wild++
					}
					return nil
				})
			})
			if err != nil {
				return refused("dump-flows", err)
			}
			if dump.selected == 0 && f.filter != "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "0 of %d flows match; %d of them wildcard what --filter names\n",
					dump.seen, dump.wild)
			}
			return failed(dump.write(cmd.OutOrStdout()))
		},
	}
	f.add(cmd)
	cmd.Flags().Var(&dump.sort, "sort", "print in descending order of `FIELD`: bytes, packets or used")
	cmd.Flags().IntVar(&dump.top, "top", 0, "print only the first `N` flows in the order of --sort (default bytes)")
	err := cmd.RegisterFlagCompletionFunc("sort", cobra.FixedCompletions(flowOrders, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was defined above
	}
	kernelFlags(cmd, &k)
	return cmd
}

// refused returns the error of a command with its name. A wrong filter is a wrong command line.
func refused(name string, err error) error {
	err = fmt.Errorf("%s: %w", name, err)
	var syntax *odp.SyntaxError
	if errors.As(err, &syntax) {
		return err
	}
	return failed(err)
}

// flowOrder is the value of flag --sort.
type flowOrder string

// flowOrders are its values.
var flowOrders = []string{"bytes", "packets", "used"}

// String implements pflag.Value.
func (o *flowOrder) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *flowOrder) Type() string { return "field" }

// Set implements pflag.Value.
func (o *flowOrder) Set(s string) error {
	*o = flowOrder(s)
	return oneOf(s, flowOrders)
}

// compare orders flows: the larger, or the more recently used, first.
func (o flowOrder) compare(a, b dpif.Flow) int {
	switch o {
	case "packets":
		return cmp.Compare(b.Packets, a.Packets)
	case "used":
		return cmp.Compare(b.UsedMS, a.UsedMS)
	}
	return cmp.Compare(b.Bytes, a.Bytes)
}

// flowDump is the output of dump-flows. A dump that fails prints nothing, and one that starts
// again discards its flows.
type flowDump struct {
	text  inspect.FlowText
	json  bool
	sort  flowOrder // "" is the order of the kernel
	top   int       // 0 is all
	lines []byte
	flows []dpif.Flow // to be sorted

	seen, selected int // flows of the datapath, and those that pass the filter
	wild           int // flows that wildcard what the filter names
}

func (d *flowDump) clear() {
	d.lines, d.flows = d.lines[:0], d.flows[:0]
	d.seen, d.selected, d.wild = 0, 0, 0
}

// add takes in a flow, which is borrowed.
func (d *flowDump) add(f *dpif.Flow) error {
	d.selected++
	if d.sort == "" && d.top == 0 {
		return d.print(f)
	}
	kept := *f
	kept.Key, kept.Mask, kept.Actions = bytes.Clone(f.Key), bytes.Clone(f.Mask), bytes.Clone(f.Actions)
	d.flows = append(d.flows, kept)
	return nil
}

func (d *flowDump) print(f *dpif.Flow) (err error) {
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
	slices.SortStableFunc(d.flows, d.sort.compare)
	if d.top > 0 {
		d.flows = d.flows[:min(d.top, len(d.flows))]
	}
	for i := range d.flows {
		if err := d.print(&d.flows[i]); err != nil {
			return err
		}
	}
	_, err := out.Write(d.lines)
	return err
}
