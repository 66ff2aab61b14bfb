package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"dpifd/internal/report"

	"github.com/spf13/cobra"
)

var _ = register(reportCommand)

func reportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "report LOG... -o FILE",
		Short: "Plot a log: upcalls, hit ratio, losses, latency and flows over time",
		Long: "Plot a JSON log of dpifd on one static page: upcalls, hit ratio, losses by cause,\n" +
			"latency and flows over time, with the events marked. Several LOGs, such as rotated\n" +
			"files, make one page. They may be compressed by gzip, and - is standard input. Exports\n" +
			"of the journal (journalctl -o json) and log files of Docker work too. Lines that are\n" +
			"not from dpifd are counted and skipped.",
		Example: "  dpifd report /var/log/dpifd.log.1.gz /var/log/dpifd.log -o report.html\n" +
			"  journalctl -u dpifd -o cat | dpifd report - -o report.html",
		Args: arguments(1, math.MaxInt),
		RunE: func(cmd *cobra.Command, logs []string) error {
			var all report.Log
			for _, name := range logs {
				if err := readLog(&all, name, cmd.InOrStdin()); err != nil {
					return failed(err)
				}
			}
			var page bytes.Buffer
			if err := all.Write(&page, logs); err != nil {
				return failed(err)
			}
			if out == "-" {
				_, err := page.WriteTo(cmd.OutOrStdout())
				return failed(err)
			}
			return failed(replaceFile(out, page.Bytes()))
		},
	}
	cmd.Flags().StringVarP(&out, "output", "o", "report.html", "`FILE` to write, - is standard output")
	return cmd
}

// readLog adds one file, or standard input, to the log.
func readLog(all *report.Log, name string, stdin io.Reader) error {
	in := stdin
	if name != "-" {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close()
		in = f
	}
	if err := all.Read(in); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

// replaceFile replaces a file atomically: a reader sees the complete old or new content.
// Symbolic links, and files that are not regular, stay and are written to. SIGINT and SIGTERM
// wait, so that no temporary file is left.
func replaceFile(name string, data []byte) error {
	if target, err := filepath.EvalSymlinks(name); err == nil {
		name = target
	}
	switch info, err := os.Stat(name); {
	case err == nil && info.IsDir():
		return fmt.Errorf("%s: %w", name, syscall.EISDIR)
	case err == nil && !info.Mode().IsRegular():
		return os.WriteFile(name, data, 0)
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	f, err := os.CreateTemp(filepath.Dir(name), "."+filepath.Base(name)+"-")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Close())
	if err == nil {
		err = os.Rename(f.Name(), name)
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	select {
	case s := <-signals:
		return errors.Join(err, fmt.Errorf("signal: %s", s))
	default:
		return err
	}
}
