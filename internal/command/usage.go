package command

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// suggestDistance is the maximum number of wrong letters in a mistyped command for a
// suggestion.
const suggestDistance = 2

// arguments accepts low to high arguments. The error names the arguments of the command's Use
// line.
func arguments(low, high int) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		_, want, _ := strings.Cut(cmd.Use, " ")
		switch {
		case len(args) > high && high == 0:
			return fmt.Errorf("takes no arguments, found %q", args[0])
		case len(args) > high:
			return fmt.Errorf("too many arguments, want %s; the first extra one is %q", want, args[high])
		case len(args) < low:
			return fmt.Errorf("too few arguments, want %s", want)
		}
		return nil
	}
}

// group makes cmd a command with subcommands only: without one of them it is a usage error.
func group(cmd *cobra.Command) {
	cmd.Args = noWord
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return fmt.Errorf("a command is missing; want %s", strings.Join(below(cmd), ", "))
	}
}

// noWord rejects a word instead of a subcommand.
func noWord(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd, args[0])
	}
	return nil
}

// below lists the commands below cmd.
func below(cmd *cobra.Command) []string {
	var names []string
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			names = append(names, sub.Name())
		}
	}
	return names
}

// unknownCommand is the error for a word that is not a subcommand of cmd.
func unknownCommand(cmd *cobra.Command, word string) error {
	if cmd.SuggestionsMinimumDistance == 0 {
		cmd.SuggestionsMinimumDistance = suggestDistance
	}
	err := fmt.Errorf("unknown command %q", word)
	if near := cmd.SuggestionsFor(word); len(near) > 0 {
		err = fmt.Errorf("%w; did you mean %s?", err, strings.Join(near, " or "))
	}
	return err
}

// flagError returns the error about a flag in plain words.
func flagError(cmd *cobra.Command, err error) error {
	// The command word was parsed as an argument before the flag, so that word is the mistake.
	if args := cmd.Flags().Args(); len(args) > 0 && cmd.HasAvailableSubCommands() && cmd.Args != nil {
		if wrong := cmd.Args(cmd, args); wrong != nil {
			return wrong
		}
	}
	var invalid *pflag.InvalidValueError
	var number *strconv.NumError
	if !errors.As(err, &invalid) {
		return err
	}
	if !errors.As(err, &number) {
		if invalid.GetFlag().Value.Type() != "duration" {
			return err
		}
		number = &strconv.NumError{Err: strconv.ErrSyntax}
	}
	flag := invalid.GetFlag()
	name := "--" + flag.Name
	if flag.Shorthand != "" {
		name = "-" + flag.Shorthand + ", " + name
	}
	want := "a number"
	switch kind := flag.Value.Type(); {
	case kind == "duration":
		want = "a number with a unit, such as 500ms, 2s or 1m"
	case kind == "bool":
		want = "true or false"
	case errors.Is(number.Err, strconv.ErrRange):
		want = "a smaller number"
	case strings.HasPrefix(kind, "uint"):
		want = "a whole number from 0"
	case strings.HasPrefix(kind, "int"):
		want = "a whole number"
	}
	return fmt.Errorf("invalid argument %q for %q flag: want %s", invalid.GetValue(), name, want)
}

// helpCommand is cobra's help command, except that an unknown command is a usage error.
func helpCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Explain a command",
		Long:  "Explain a command, as COMMAND --help does.",
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			return below(at), cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at := cmd.Root()
			for _, word := range args {
				next, rest, err := at.Find([]string{word})
				if err != nil || next == at || len(rest) > 0 {
					return unknownCommand(at, word)
				}
				at = next
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	}
}
