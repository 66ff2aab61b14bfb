//go:build lab

package tutorial

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"dpifd/internal/lab"
)

const (
	readme = "/usr/share/doc/dpifd/README.md"
	// limit bounds one command. Emulated CPUs may be slow.
	limit = 2 * time.Minute
	mark  = "-- end of command, status"
)

// step is a command of the tutorial and the output that it shows.
type step struct {
	line    int
	command string
	shows   []string
}

// steps reads the blocks of type console: a line that begins with "$ " is a command, other lines
// are its output, in which "..." matches anything.
func steps(t *testing.T) (all []step) {
	t.Helper()
	b, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	inside := false
	for i, line := range strings.Split(string(b), "\n") {
		switch {
		case line == "```console":
			inside = true
		case line == "```":
			inside = false
		case !inside:
		case strings.HasPrefix(line, "$ "):
			all = append(all, step{line: i + 1, command: line[2:]})
		case len(all) == 0:
			t.Fatalf("README.md:%d: output before any command", i+1)
		default:
			s := &all[len(all)-1]
			s.shows = append(s.shows, line)
		}
	}
	return all
}

// shell is one sh process that runs all commands.
type shell struct {
	in    io.Writer
	lines chan string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	cmd := exec.Command("sh")
	cmd.Dir = t.TempDir()
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = w, w
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	s := &shell{in: in, lines: make(chan string, 1024)}
	lab.Go(t, func(ctx context.Context) {
		defer close(s.lines)
		for scan := bufio.NewScanner(r); scan.Scan(); {
			select {
			case s.lines <- scan.Text():
			case <-ctx.Done():
				return
			}
		}
	})
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		r.Close()
	})
	return s
}

// run runs one command and returns its output and status.
func (s *shell) run(command string) (output []string, status string, err error) {
	if _, err := fmt.Fprintf(s.in, "%s\necho '%s' $?\n", command, mark); err != nil {
		return nil, "", err
	}
	for within := lab.Within(limit); ; {
		select {
		case line, ok := <-s.lines:
			if !ok {
				return output, "", io.ErrUnexpectedEOF
			}
			if before, status, ended := strings.Cut(line, mark+" "); ended {
				if before != "" {
					output = append(output, before)
				}
				return output, status, nil
			}
			output = append(output, line)
		case <-time.After(within.Left()):
			if within.Passed() {
				return output, "", fmt.Errorf("not done within %v", limit)
			}
		}
	}
}

// missing returns the first shown line that is missing in the output, in order.
func missing(shows, output []string) string {
	for _, want := range shows {
		pattern := regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(want), `\.\.\.`, ".*") + "$")
		i := 0
		for i < len(output) && !pattern.MatchString(strings.TrimRight(output[i], " ")) {
			i++
		}
		if i == len(output) {
			return want
		}
		output = output[i+1:]
	}
	return ""
}

func TestTutorial(t *testing.T) {
	all := steps(t)
	if len(all) < 10 {
		t.Fatalf("the tutorial has %d commands", len(all))
	}
	sh := newShell(t)
	for _, s := range all {
		output, status, err := sh.run(s.command)
		t.Logf("$ %s\n%s", s.command, strings.Join(output, "\n"))
		if err != nil || status != "0" {
			t.Fatalf("README.md:%d: %s: status %s, %v", s.line, s.command, status, err)
		}
		if line := missing(s.shows, output); line != "" {
			t.Errorf("README.md:%d: %s does not show: %s", s.line, s.command, line)
		}
	}
}
