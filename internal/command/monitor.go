package command

import (
	"dpifd/internal/monitor"

	"github.com/spf13/cobra"
)

const monitorHelp = "It goes on until SIGINT, SIGTERM or --count events. What is listened to is said on\n" +
	"standard error. If the kernel drops events because they are not read fast enough,\n" +
	"that is an event too, and it goes on.\n\n" +
	"The kernel is listened to, no daemon is needed, and nothing is changed."

var _ = register(monitorCommand)

func monitorCommand() *cobra.Command {
	cmd := watchCommand("monitor", monitor.Config{Links: true, Vports: true})
	cmd.Short = "Print events as they happen"
	cmd.Long = "Print events as they happen, one line each: of devices and ports together or, with a\n" +
		"command below, of one kind. The kernel tells of flows and upcalls only those who\n" +
		"ask for them.\n\n" + monitorHelp
	cmd.Example = "  dpifd monitor\n  dpifd monitor vport dp0\n  dpifd monitor -o json | jq -r .event"
	cmd.Args, cmd.ValidArgsFunction = noWord, cobra.NoFileCompletions

	link := watchCommand("link", monitor.Config{Links: true})
	link.Short = "Print what happens to network devices"
	link.Long = "Print what happens to network devices: those that come (new), change (set) and go\n" +
		"(del), with MTU, flags and state. The events come over a memory-mapped ring where\n" +
		"the kernel has these.\n\n" + monitorHelp
	link.Example = "  dpifd monitor link\n  dpifd monitor link --filter 'veth*' --count 1 -o json"
	link.Args, link.ValidArgsFunction = arguments(0, 0), cobra.NoFileCompletions

	vport := watchCommand("vport [DATAPATH]", monitor.Config{Vports: true})
	vport.Short = "Print what happens to datapaths and their ports"
	vport.Long = "Print what happens to datapaths and their ports: those that come (new), change (set)\n" +
		"and go (del), whoever does it. A change of a datapath's features or upcall PIDs\n" +
		"by another program is seen here.\n\n" + monitorHelp
	vport.Example = "  dpifd monitor vport\n  dpifd monitor vport dp0 --filter 'va*'"

	flow := watchCommand("flow [DATAPATH]", monitor.Config{Flows: true})
	flow.Short = "Print flows that are installed, changed and deleted"
	flow.Long = "Print flows that are installed (new), changed (set; new on kernels before 4.19) and\n" +
		"deleted (del), whoever does it, as dump-flows does. The kernel does not tell of a\n" +
		"table that is flushed, nor to a program of what it did itself.\n\n" +
		"Beware on kernels with memory-mapped netlink: Linux 4.1 and 4.4 panic when a socket\n" +
		"with a receive ring installs a flow while somebody listens to flows. dpifd run never\n" +
		"does that; other programs with rings may.\n\n" +
		filterHelp + " --filter with names needs DATAPATH.\n\n" + monitorHelp
	flow.Example = "  dpifd monitor flow dp0 --names\n  dpifd monitor flow --filter 'eth_type(0x0806)' --count 10"

	cmd.AddCommand(link, vport, flow, monitorUpcallCommand())
	return cmd
}

// noArguments has a command take no datapath.
