package command

import (
	"dpifd/internal/monitor"

	"github.com/spf13/cobra"
)

const monitorHelp = "The command runs until SIGINT, SIGTERM or --count events, and prints what it listens to\n" +
	"on standard error. If the kernel drops events because they are not read fast enough,\n" +
	"the event overflow is printed, and the command continues.\n\n" +
	"It listens to the kernel, needs no daemon and changes nothing."

var _ = register(monitorCommand)

func monitorCommand() *cobra.Command {
	cmd := watchCommand("monitor", monitor.Config{Links: true, Vports: true})
	cmd.Short = "Print events as they happen"
	cmd.Long = "Print events as they happen, one per line: of devices, datapaths and ports, or of one\n" +
		"kind with a subcommand. Flows and upcalls are printed by their subcommands only.\n\n" + monitorHelp
	cmd.Example = "  dpifd monitor\n  dpifd monitor vport dp0\n  dpifd monitor -o json | jq -r .event"
	cmd.Args, cmd.ValidArgsFunction = noWord, cobra.NoFileCompletions

	link := watchCommand("link", monitor.Config{Links: true})
	link.Short = "Print changes of network devices"
	link.Long = "Print network devices that are created (new), changed (set) and deleted (del), with\n" +
		"MTU, flags and state. If the kernel has memory-mapped rings, the events arrive through\n" +
		"one.\n\n" + monitorHelp
	link.Example = "  dpifd monitor link\n  dpifd monitor link --filter 'veth*' --count 1 -o json"
	link.Args, link.ValidArgsFunction = arguments(0, 0), cobra.NoFileCompletions

	vport := watchCommand("vport [DATAPATH]", monitor.Config{Vports: true})
	vport.Short = "Print changes of datapaths and their ports"
	vport.Long = "Print datapaths and ports that are created (new), changed (set) and deleted (del) by any\n" +
		"program. This includes changes of user features and upcall PIDs.\n\n" + monitorHelp
	vport.Example = "  dpifd monitor vport\n  dpifd monitor vport dp0 --filter 'va*'"

	flow := watchCommand("flow [DATAPATH]", monitor.Config{Flows: true})
	flow.Short = "Print flows that are installed, changed and deleted"
	flow.Long = "Print flows that any program installs (new), changes (set; new on kernels before 4.19)\n" +
		"and deletes (del), in the format of dump-flows. The kernel sends no event when a table\n" +
		"is flushed, and none to a program about its own changes.\n\n" +
		"Kernels with memory-mapped netlink: Linux 4.1 and 4.4 panic when a socket with a\n" +
		"receive ring installs a flow while a program listens to flows. dpifd run never does\n" +
		"that; other programs with rings may.\n\n" +
		filterHelp + " Names in KEY need DATAPATH.\n\n" + monitorHelp
	flow.Example = "  dpifd monitor flow dp0 --names\n  dpifd monitor flow --filter 'eth_type(0x0806)' --count 10"

	cmd.AddCommand(link, vport, flow, monitorUpcallCommand())
	return cmd
}

// noArguments is for a command that takes no datapath.
