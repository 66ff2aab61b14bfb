package command

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/inspect"
	"dpifd/internal/odp"
	"dpifd/internal/overview"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"
)

var _ = register(topCommand)

// minInterval is the minimum interval of reading the datapath.
const minInterval = 100 * time.Millisecond

func topCommand() *cobra.Command {
	var k kernel
	var socket string
	var interval time.Duration
	cmd := &cobra.Command{
		Use:   "top [DATAPATH]",
		Short: "Watch ports and flows of a datapath live",
		Long: "Watch a datapath live on a terminal: its state, and its ports or flows with their\n" +
			"rates, busiest first. Keys: p ports, f flows, s next sort order (ports: number,\n" +
			"received, sent, lost; flows: bits, packets), q quit.\n\n" +
			"Part of it comes from the kernel and needs no daemon, the rest from the daemon, over\n" +
			"--socket or /run/dpifd/DATAPATH.sock. `dpifd status` prints the same once.",
		Example: "  dpifd top\n  dpifd top dp0 --interval 5s",
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if interval < minInterval {
				return fmt.Errorf("--interval: want %v or more", minInterval)
			}
			if !onTerminal(cmd.OutOrStdout()) {
				return failed(errors.New("top: standard output is not a terminal; dpifd status prints the state once"))
			}
			err := k.sample(socket, args, func(r *inspect.Reader, take func() (*overview.Sample, error)) error {
				screen, err := tcell.NewScreen()
				if err == nil {
					err = screen.Init()
				}
				if err != nil {
					return fmt.Errorf("terminal: %w", err)
				}
				defer screen.Fini()
				return (&top{screen: screen, reader: r, take: take, interval: interval}).run()
			})
			if err != nil {
				return refused("top", err)
			}
			return nil
		},
	}
	cmd.Flags().DurationVar(&interval, "interval", 2*time.Second, "`TIME` between updates")
	kernelFlags(cmd, &k)
	if err := cmd.Flags().MarkHidden("output"); err != nil {
		panic(err) // the flag was defined above
	}
	socketFlag(cmd, &socket)
	return cmd
}

// portOrders are the orders of ports, in the order of key s.
var portOrders = []overview.Order{overview.ByNumber, overview.ByRx, overview.ByTx, overview.ByLoss}

// top is the live view. It belongs to one goroutine.
type top struct {
	screen   tcell.Screen
	reader   *inspect.Reader
	take     func() (*overview.Sample, error)
	interval time.Duration

	byFlow    bool
	order     overview.Order
	byPackets bool // order of flows

	before *overview.Sample
	flows  overview.Flows
	text   string // as last drawn
}

// run draws until the user quits.
func (t *top) run() error {
	t.order = overview.ByRx
	events, quit := make(chan tcell.Event), make(chan struct{})
	defer close(quit)
	go t.screen.ChannelEvents(events, quit)
	var err error
	if t.before, err = t.take(); err != nil {
		return err
	}
	t.draw("looking ...\n")
	tick := time.NewTicker(t.interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := t.look(); err != nil {
				return err
			}
		case ev := <-events:
			switch ev := ev.(type) {
			case nil:
				return nil // the terminal is gone
			case *tcell.EventResize:
				t.screen.Sync()
				t.draw(t.text)
			case *tcell.EventKey:
				if end := t.key(ev); end {
					return nil
				}
			}
		}
	}
}

// key handles a key, and reports whether to quit.
func (t *top) key(ev *tcell.EventKey) (end bool) {
	switch {
	case ev.Key() == tcell.KeyCtrlC, ev.Key() == tcell.KeyEscape, ev.Rune() == 'q':
		return true
	case ev.Rune() == 'p':
		t.byFlow = false
	case ev.Rune() == 'f':
		t.byFlow, t.flows = true, overview.Flows{}
	case ev.Rune() == 's' && t.byFlow:
		t.byPackets = !t.byPackets
	case ev.Rune() == 's':
		t.order = portOrders[(slices.Index(portOrders, t.order)+1)%len(portOrders)]
	}
	return false
}

// look reads everything once and draws it.
func (t *top) look() error {
	now, err := t.take()
	if err != nil {
		return err
	}
	o := overview.New(t.before, now)
	t.before = now
	text := append(o.AppendHead(nil), '\n')
	if t.byFlow {
		text, err = t.appendFlows(text, o)
	} else {
		o.Sort(t.order)
		text = o.AppendPorts(text)
	}
	if err != nil {
		return err
	}
	t.draw(string(text))
	return nil
}

// appendFlows appends as many flows as the screen has lines.
func (t *top) appendFlows(text []byte, o *overview.Overview) ([]byte, error) {
	names := map[odp.PortNo]string{}
	for _, p := range o.Ports {
		names[odp.PortNo(p.No)] = p.Name
	}
	syntax := odp.Text{PortName: func(no odp.PortNo) string { return names[no] }}
	_, lines := t.screen.Size()
	now := time.Now()
	var list overview.Busiest
	begin := func() {
		t.flows.Begin()
		list = overview.Busiest{N: lines, ByPackets: t.byPackets}
	}
	begin()
	err := t.reader.Flows(o.Datapath, begin, func(f *dpif.Flow) error {
		packets, bits := t.flows.Add(f, now)
		list.Add(packets, bits, f, &syntax)
		return nil
	})
	if err != nil {
		return nil, err
	}
	t.flows.End(now)
	return list.AppendText(text), nil
}

// draw shows text, truncated to the screen, above a line with the keys.
func (t *top) draw(text string) {
	t.text = text
	t.screen.Clear()
	width, height := t.screen.Size()
	y := 0
	for line := range strings.Lines(text) {
		if y >= height-1 {
			break
		}
		style := tcell.StyleDefault
		if y == 0 {
			style = style.Bold(true)
		} else if strings.HasPrefix(line, "problem: ") {
			style = style.Foreground(tcell.ColorRed)
		}
		t.put(y, width, strings.TrimRight(line, "\n"), style)
		y++
	}
	order := string(t.order)
	if t.byFlow {
		order = map[bool]string{false: "bits", true: "packets"}[t.byPackets]
	}
	t.put(height-1, width, fmt.Sprintf("p ports  f flows  s order (%s)  q end", order), tcell.StyleDefault.Reverse(true))
	t.screen.Show()
}

// put writes one line.
func (t *top) put(y, width int, text string, style tcell.Style) {
	x := 0
	for _, r := range text {
		if x >= width {
			return
		}
		t.screen.SetContent(x, y, r, nil, style)
		x++
	}
}
