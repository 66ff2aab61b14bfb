package command_test

import (
	"testing"

	"dpifd/internal/command"

	"github.com/spf13/cobra"
)

// TestHelpComplete checks that each command has all texts for its manual page and help.
func TestHelpComplete(t *testing.T) {
	var walk func(*cobra.Command)
	walk = func(c *cobra.Command) {
		if c.Name() != "completion" && c.Name() != "help" {
			for what, text := range map[string]string{"Short": c.Short, "Long": c.Long, "Example": c.Example} {
				if text == "" {
					t.Errorf("%s has no %s", c.CommandPath(), what)
				}
			}
			for _, sub := range c.Commands() {
				walk(sub)
			}
		}
	}
	walk(command.New())
}
