package command

import (
	"bufio"
	"errors"
	"fmt"
	"path"
	"strings"

	"dpifd/internal/monitor"
	"dpifd/internal/netns"
	"dpifd/internal/odp"

	"github.com/spf13/cobra"
)

// watch is one run of a command that prints events of the kernel.
type watch struct {
	cfg      monitor.Config
	kernel   kernel
	flows    flowFlags
	pattern  string
	count    uint64
	datapath string

	out        *bufio.Writer
	line       []byte
	want, mask []byte // of flows
	printed    uint64
}

// watchCommand returns a command that prints the events of cfg.
func watchCommand(use string, cfg monitor.Config) *cobra.Command {
	w := watch{cfg: cfg}
	cmd := &cobra.Command{
		Use:  use,
		Args: arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				w.datapath = args[0]
			}
			if _, err := path.Match(w.pattern, ""); err != nil {
				return fmt.Errorf("--filter %s: %w", w.pattern, err)
			}
			err := netns.Do(w.kernel.netns, func() error { return w.run(cmd) })
			if err != nil {
				return refused(strings.TrimPrefix(cmd.CommandPath(), cmd.Root().Name()+" "), err)
			}
			return nil
		},
	}
	kernelFlags(cmd, &w.kernel)
	if cfg.Flows {
		w.flows.add(cmd)
	} else {
		cmd.Flags().StringVar(&w.pattern, "filter", "",
			"print only devices, ports and datapaths whose name matches the shell `PATTERN`")
	}
	cmd.Flags().Uint64Var(&w.count, "count", 0, "exit after `N` events (default: never)")
	return cmd
}

func (w *watch) run(cmd *cobra.Command) error {
	ctx, stop := signalContext()
	defer stop()
	m, err := monitor.Open(w.cfg)
	if err != nil {
		return err
	}
	defer m.Close()
	if w.want, w.mask, err = w.flows.parse(m.Ports(w.datapath)); err != nil {
		return err
	}
	w.out = bufio.NewWriter(cmd.OutOrStdout())
	fmt.Fprintf(cmd.ErrOrStderr(), "listening to %s\n", w.sources(m))
	err = m.Run(ctx, func(ev *monitor.Event) error { return w.event(cmd, m, ev) }, w.out.Flush)
	if errors.Is(err, errEnough) {
		err = w.out.Flush()
	}
	return err
}

// sources describes what the command listens to.
func (w *watch) sources(m *monitor.Monitor) string {
	var list []string
	if w.cfg.Links {
		list = append(list, fmt.Sprintf("devices (%s)", m.Transport()))
	}
	if w.cfg.Vports {
		list = append(list, "datapaths and ports")
	}
	if w.cfg.Flows {
		list = append(list, "flows")
	}
	return strings.Join(list, ", ")
}

// event prints an event that passes the filters.
func (w *watch) event(cmd *cobra.Command, m *monitor.Monitor, ev *monitor.Event) error {
	if !w.passes(ev) {
		return nil
	}
	text := odp.Text{Verbose: w.flows.verbose}
	flows := m.FlowText(ev, text, w.flows.named(cmd))
	var err error
	if w.kernel.form == outputJSON {
		w.line, err = ev.AppendJSON(w.line[:0], &flows)
	} else {
		w.line = ev.AppendText(w.line[:0], &flows)
	}
	if err == nil {
		_, err = w.out.Write(append(w.line, '\n'))
	}
	if err != nil || ev.Overflow != "" {
		return err
	}
	if w.printed++; w.printed == w.count {
		return errEnough
	}
	return nil
}

func (w *watch) passes(ev *monitor.Event) bool {
	if ev.Overflow != "" {
		return true
	}
	if w.datapath != "" && ev.DP != w.datapath {
		return false
	}
	if ev.Flow != nil {
		return odp.SelectsFlow(ev.Flow.Key, ev.Flow.Mask, w.want, w.mask)
	}
	// The pattern was tried at the start.
	matches, _ := path.Match(w.pattern, ev.Name())
	return w.pattern == "" || matches
}
