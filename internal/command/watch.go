package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// repeat is the value of flag --watch.
type repeat struct{ interval time.Duration }

func (r *repeat) flag(cmd *cobra.Command) {
	cmd.Flags().DurationVarP(&r.interval, "watch", "w", 0, "print again every `TIME`, such as 2s, until SIGINT or SIGTERM")
}

// clearScreen moves to the top left and erases the screen, ECMA-48.
const clearScreen = "\x1b[H\x1b[2J"

// do calls print once, or repeatedly with --watch, on a cleared screen if out is a terminal. A
// signal ends it without an error.
func (r *repeat) do(out io.Writer, print func() error) error {
	if r.interval == 0 {
		return print()
	}
	if r.interval < minInterval {
		return fmt.Errorf("--watch: want %v or more", minInterval)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	tick := time.NewTicker(r.interval)
	defer tick.Stop()
	for {
		if onTerminal(out) {
			fmt.Fprint(out, clearScreen)
		}
		err := print()
		if ctx.Err() != nil || errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}
