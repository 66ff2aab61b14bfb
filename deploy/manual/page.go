package main

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// section is the manual section of commands for administrators.
const section = "8"

// titleLine returns the Markdown of a page's title.
func titleLine(name, section, version string) string {
	date := time.Now()
	if s, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64); err == nil {
		date = time.Unix(s, 0)
	}
	return fmt.Sprintf("%% %q %q %q %q %q\n", strings.ToUpper(name), section, date.UTC().Format(time.DateOnly),
		strings.TrimSpace("dpifd "+version), "dpifd")
}

// pageName returns the name of a command's page: its path with dashes, as git does.
func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

// documented returns a command and the commands below it that have pages, parents first. Hidden
// commands have none; the page of completion covers its subcommands.
func documented(c *cobra.Command) []*cobra.Command {
	out := []*cobra.Command{c}
	if c.Name() == "completion" {
		return out
	}
	for _, sub := range c.Commands() {
		if sub.Name() != "help" && !sub.Hidden && sub.Deprecated == "" {
			out = append(out, documented(sub)...)
		}
	}
	return out
}

// commandPage returns the Markdown of a command's page.
func commandPage(c *cobra.Command, titleLine string) []byte {
	var b strings.Builder
	b.WriteString(titleLine)
	fmt.Fprintf(&b, "# NAME\n%s - %s\n\n", pageName(c), literal(c.Short))
	below := documented(c)[1:]
	use := c.UseLine()
	if len(below) > 0 && !strings.Contains(use, " [") {
		use += " COMMAND"
	}
	fmt.Fprintf(&b, "# SYNOPSIS\n**%s**\n\n", literal(use))
	fmt.Fprintf(&b, "# DESCRIPTION\n%s\n", paragraphs(c.Long))
	c.InitDefaultHelpFlag()
	options(&b, "OPTIONS", c.NonInheritedFlags())
	options(&b, "OPTIONS OF ALL COMMANDS", c.InheritedFlags())
	if len(below) > 0 {
		b.WriteString("# COMMANDS\n")
	}
	var related []string
	if p := c.Parent(); p != nil {
		related = append(related, p.CommandPath())
	}
	for _, sub := range below {
		if sub.Parent() == c {
			fmt.Fprintf(&b, "**%s**\n: %s\n\n", literal(sub.CommandPath()), literal(sub.Short))
			related = append(related, sub.CommandPath())
		}
	}
	if c.Example != "" {
		fmt.Fprintf(&b, "# EXAMPLES\n```\n%s\n```\n\n", c.Example)
	}
	b.WriteString("# EXIT STATUS\n0 if all went well, 1 if something failed, 2 if the command line is wrong.\n\n" +
		"# SEE ALSO\n")
	for _, path := range related {
		fmt.Fprintf(&b, "**%s(%s)**, ", strings.ReplaceAll(path, " ", "-"), section)
	}
	b.WriteString("**dpifd.yaml(5)**\n")
	return []byte(b.String())
}

// options writes the entries of flags under a heading, if there are any.
func options(b *strings.Builder, heading string, flags *pflag.FlagSet) {
	if !flags.HasAvailableFlags() {
		return
	}
	fmt.Fprintf(b, "# %s\n", heading)
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Hidden || f.Deprecated != "" {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		name := "**--" + f.Name + "**"
		if f.Shorthand != "" {
			name = "**-" + f.Shorthand + "**, " + name
		}
		if value != "" {
			name += " *" + literal(value) + "*"
		}
		switch f.DefValue {
		case "", "false", "0", "[]", "0s":
		default:
			usage += " (default " + f.DefValue + ")"
		}
		fmt.Fprintf(b, "%s\n: %s\n\n", name, literal(usage))
	})
}

// paragraphs converts a help text to Markdown: indented lines are shown unchanged, others are
// filled.
func paragraphs(text string) string {
	var b strings.Builder
	shown := false
	for line := range strings.Lines(strings.TrimSpace(text) + "\n") {
		indented := strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t")
		switch {
		case indented && !shown:
			b.WriteString("\n```\n")
		case !indented && shown && strings.TrimSpace(line) != "":
			b.WriteString("```\n\n")
		}
		if shown = indented || shown && strings.TrimSpace(line) == ""; shown {
			b.WriteString(line)
		} else {
			b.WriteString(literal(line))
		}
	}
	if shown {
		b.WriteString("```\n")
	}
	return b.String()
}

// literal escapes s for Markdown.
func literal(s string) string {
	return strings.NewReplacer(
		`\`, `\\`, "`", "\\`", "*", `\*`, "_", `\_`, "[", `\[`, "]", `\]`, "<", `\<`, ">", `\>`, "#", `\#`, "|", `\|`,
	).Replace(s)
}
