package command

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"dpifd/internal/odp"

	"github.com/spf13/cobra"
)

// maxODPLine is the maximum length of an input line in bytes. A netlink attribute has up to 64
// KiB, at two digits per byte.
const maxODPLine = 1 << 20

var _ = register(odpCommand)

func odpCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "odp",
		Short: "Check flow keys or actions in the syntax of ovs-dpctl",
		Long: "Check flow keys or actions in the syntax of ovs-dpctl, and print their normal form.\n" +
			"Needs no datapath.",
		Example: "  echo 'in_port(1),eth_type(0x800)' | dpifd odp key\n" +
			"  echo 'push_vlan(vid=10,pcp=0),2' | dpifd odp actions",
	}
	group(cmd)
	cmd.AddCommand(
		odpSubcommand("key", "Check flow keys", "in_port(1),eth_type(0x800)", func(t odp.Text, line string) ([]byte, error) {
			key, mask, err := t.ParseKey(line)
			return t.AppendKey(nil, key, mask), err
		}),
		odpSubcommand("actions", "Check actions", "push_vlan(vid=10,pcp=0),2", func(t odp.Text, line string) ([]byte, error) {
			actions, err := t.ParseActions(line)
			return t.AppendActions(nil, actions), err
		}),
	)
	return cmd
}

func odpSubcommand(name, short, sample string, normalise func(odp.Text, string) ([]byte, error)) *cobra.Command {
	var text odp.Text
	cmd := &cobra.Command{
		Use:   name + " [FILE|-]",
		Short: short,
		Long: short + ", one per line, from a file or standard input. Each is encoded in the kernel's\n" +
			"format, decoded, and printed; for a wrong one, LINE:COLUMN and what was expected are\n" +
			"printed. Empty lines and lines that start with # are skipped. Exits with 1 if any line\n" +
			"is wrong. Ports are numbers, because names need a datapath.",
		Example: "  echo '" + sample + "' | dpifd odp " + name + "\n  dpifd odp " + name + " FILE",
		Args:    arguments(0, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			in := cmd.InOrStdin()
			if len(args) == 1 && args[0] != "-" {
				f, err := os.Open(args[0])
				if err != nil {
					return failed(err)
				}
				defer f.Close()
				in = f
			}
			return odpLines(in, cmd.OutOrStdout(), func(line string) ([]byte, error) { return normalise(text, line) })
		},
	}
	cmd.Flags().BoolVarP(&text.Verbose, "more", "m", false, "also print wildcarded fields")
	return cmd
}

// odpLines prints the result of normalise for each line, in the order of the lines.
func odpLines(in io.Reader, out io.Writer, normalise func(string) ([]byte, error)) error {
	w := bufio.NewWriter(out)
	lines, wrong := bufio.NewScanner(in), 0
	lines.Buffer(nil, maxODPLine)
	n := 0
	for lines.Scan() {
		n++
		line := lines.Text()
		if s := strings.TrimSpace(line); s == "" || s[0] == '#' {
			continue
		}
		text, err := normalise(line)
		var syntax *odp.SyntaxError
		switch {
		case errors.As(err, &syntax):
			wrong++
			fmt.Fprintf(w, "%d:%d: error: %s\n", n, syntax.Column, syntax.Msg)
		case err != nil:
			return failed(err)
		default:
			fmt.Fprintf(w, "%s\n", text)
		}
	}
	if err := w.Flush(); err != nil {
		return failed(err)
	}
	if err := lines.Err(); err != nil {
		return failed(fmt.Errorf("line %d: %w", n+1, err))
	}
	if wrong > 0 {
		return failed(fmt.Errorf("dpifd: wrong lines: %d of %d", wrong, n))
	}
	return nil
}
