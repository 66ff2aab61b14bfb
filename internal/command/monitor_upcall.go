package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"dpifd/internal/control"
	"dpifd/internal/odp"
	"dpifd/internal/pcapng"

	"github.com/spf13/cobra"
)

// errEnough ends a stream after the requested number of upcalls.
var errEnough = errors.New("enough")

// fullPacket is larger than any packet, in bytes.
const fullPacket = 1 << 16

func monitorUpcallCommand() *cobra.Command {
	var (
		form         output
		socket, file string
		watch        control.Watch
		count        uint64
	)
	cmd := &cobra.Command{
		Use:   "upcall [DATAPATH]",
		Short: "Print upcalls with the running daemon's decisions",
		Long: "Print each upcall of a running daemon with the decision of its policy, until SIGINT,\n" +
			"SIGTERM or --count. Packets that match a flow in the kernel are not upcalls and are\n" +
			"not shown.\n\n" +
			"The daemon never waits for this command: it leaves out upcalls beyond --rate and those\n" +
			"that are not read in time, and their number is printed where they are missing." + socketHelp,
		Example: "  dpifd monitor upcall\n" +
			"  dpifd monitor upcall dp0 --filter 'eth_type(0x0806)' --count 10\n" +
			"  dpifd monitor upcall --filter 'in_port(3)' --pcapng port3.pcapng -o json",
		Args:              arguments(0, 1),
		ValidArgsFunction: completeDatapath,
		RunE: func(cmd *cobra.Command, args []string) error {
			// The daemon knows the ports; here any name is accepted.
			syntax := odp.Text{PortNumber: func(string) (odp.PortNo, bool) { return 0, true }}
			if _, _, err := syntax.ParseKey(watch.Filter); watch.Filter != "" && err != nil {
				return fmt.Errorf("--filter: %w", err)
			}
			if watch.Rate < 1 {
				return fmt.Errorf("--rate: want a number from 1, not %d", watch.Rate)
			}
			watch.Names = named(cmd, watch.Names)
			return ask(socket, optional(args), func(ctx context.Context, c *control.Client) error {
				show := upcallPrinter{out: cmd.OutOrStdout(), errs: cmd.ErrOrStderr(), form: form, left: count, endless: count == 0}
				if file != "" {
					watch.Snap = fullPacket
					if err := show.capture(file); err != nil {
						return err
					}
				}
				err := c.Upcalls(ctx, watch, show.notice)
				switch {
				case errors.Is(err, errEnough), errors.Is(err, context.Canceled):
					err = nil
				case errors.Is(err, io.EOF):
					err = errors.New("the daemon has exited")
				}
				return errors.Join(err, show.close())
			})
		},
	}
	cmd.Flags().StringVar(&watch.Filter, "filter", "",
		"print only upcalls whose key matches `KEY`, in the syntax of ovs-dpctl, with masks and port names")
	namesFlag(cmd, &watch.Names)
	cmd.Flags().IntVar(&watch.Rate, "rate", control.DefaultRate, "print at most `N` upcalls a second")
	cmd.Flags().Uint64Var(&count, "count", 0, "exit after `N` upcalls (default: never)")
	cmd.Flags().StringVar(&file, "pcapng", "", "write the packets to `FILE`, with the decisions as comments")
	socketFlag(cmd, &socket)
	outputFlag(cmd, &form)
	return cmd
}

// upcallPrinter prints notices, and captures the packets.
type upcallPrinter struct {
	out     io.Writer
	errs    io.Writer
	form    output
	left    uint64 // upcalls to print
	endless bool
	file    *os.File
	packets *pcapng.Writer // nil until the datapath is known
}

func (p *upcallPrinter) capture(path string) (err error) {
	p.file, err = os.Create(path)
	return err
}

func (p *upcallPrinter) close() error {
	if p.file == nil {
		return nil
	}
	var err error
	if p.packets != nil {
		err = p.packets.Flush()
	}
	return errors.Join(err, p.file.Close())
}

func (p *upcallPrinter) notice(n control.Notice) error {
	if n.Watching != "" {
		return p.begin(n.Watching)
	}
	if u := n.Upcall; u != nil && p.file != nil {
		if err := p.write(u); err != nil {
			return err
		}
		u.Packet = nil // it is in the file
	}
	if err := p.print(n); err != nil {
		return err
	}
	if n.Upcall != nil && !p.endless {
		if p.left--; p.left == 0 {
			return errEnough
		}
	}
	return nil
}

func (p *upcallPrinter) print(n control.Notice) (err error) {
	switch u := n.Upcall; {
	case p.form == outputJSON:
		return json.NewEncoder(p.out).Encode(n)
	case u == nil:
		_, err = fmt.Fprintf(p.out, "(%d upcalls left out)\n", n.Dropped)
	default:
		flow := "no flow"
		if u.Install {
			flow = "flow"
		}
		_, err = fmt.Fprintf(p.out, "%s %s(%d) %d bytes %s, %s: %s actions:%s\n",
			u.Time.Format(time.RFC3339Nano), u.Port, u.PortNo, u.PacketBytes, u.Decision, flow, u.Key, u.Actions)
	}
	return err
}

// begin reports, separately from upcalls, that watching has started.
func (p *upcallPrinter) begin(datapath string) (err error) {
	if p.file != nil {
		if p.packets, err = pcapng.NewWriter(p.file, "dpifd "+version(), datapath); err != nil {
			return err
		}
	}
	_, err = fmt.Fprintf(p.errs, "watching upcalls of %s\n", datapath)
	return err
}

// write appends the packet to the file and flushes it.
func (p *upcallPrinter) write(u *control.Upcall) error {
	install := "no flow"
	if u.Install {
		install = "flow installed"
	}
	err := p.packets.Write(pcapng.Packet{Time: u.Time, Port: u.Port, Data: u.Packet, Length: u.PacketBytes,
		Comments: []string{"decision: " + u.Decision + ", " + install, "key: " + u.Key, "actions: " + u.Actions}})
	if err != nil {
		return err
	}
	return p.packets.Flush()
}
