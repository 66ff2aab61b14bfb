// Package container_test checks the Containerfile against the program.
package container_test

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"dpifd/internal/command"
)

// TestContainerfile: the image contains only the program, and starts it with a valid command line.
func TestContainerfile(t *testing.T) {
	text, err := os.ReadFile("Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	var instructions []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			instructions = append(instructions, line)
		}
	}
	if len(instructions) != 4 || instructions[0] != "FROM scratch" || instructions[1] != "COPY dpifd /usr/sbin/dpifd" {
		t.Fatalf("instructions %q", instructions)
	}
	var entry, args []string
	for i, list := range []*[]string{&entry, &args} {
		_, words, _ := strings.Cut(instructions[2+i], " ")
		if err := json.Unmarshal([]byte(words), list); err != nil {
			t.Fatalf("%s: %v", instructions[2+i], err)
		}
	}
	if len(entry) != 1 || entry[0] != "/usr/sbin/dpifd" {
		t.Errorf("entry point %q", entry)
	}
	cmd, rest, err := command.New().Find(args)
	if err != nil || cmd.Name() != "run" {
		t.Fatalf("command %q: %v", args, err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Error(err)
	}
}
