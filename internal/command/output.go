package command

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

// output is the output format of a command, the value of flag -o.
type output string

const (
	outputText output = "text"
	outputJSON output = "json"
)

// outputFlag adds -o, text by default. A command that prints a stream prints
// one JSON value a line.
func outputFlag(cmd *cobra.Command, form *output) {
	*form = outputText
	cmd.Flags().VarP(form, "output", "o", "`FORM` of the output: text or json")
	err := cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(
		[]string{string(outputText), string(outputJSON)}, cobra.ShellCompDirectiveNoFileComp))
	if err != nil {
		panic(err) // the flag was defined in the line before
	}
}

// String implements pflag.Value.
func (o *output) String() string { return string(*o) }

// Type implements pflag.Value.
func (o *output) Type() string { return "form" }

// Set implements pflag.Value.
func (o *output) Set(s string) error {
	*o = output(s)
	return oneOf(s, []string{string(outputText), string(outputJSON)})
}

// oneOf returns an error if s is none of words.
func oneOf(s string, words []string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return fmt.Errorf("want %s", strings.Join(words, " or "))
}

// printJSON writes v as indented JSON.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(v)
}

// printTable writes a list as JSON, or as a table with a heading. line writes one row.
func printTable[T any](out io.Writer, form output, list []T, heading string, line func(w io.Writer, x *T)) error {
	if form == outputJSON {
		return printJSON(out, list)
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, heading)
	for i := range list {
		line(w, &list[i])
	}
	return w.Flush()
}
