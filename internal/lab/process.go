//go:build lab

package lab

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// runLimit bounds Run, so that one hang does not block the whole lab. Emulated CPUs are slow;
// stalls of the guest do not count.
const runLimit = 2 * time.Minute

// outputLimit is the time to read the output of an exited process. A grandchild that keeps it open
// does not delay Wait for longer.
const outputLimit = 20 * time.Second

// Run runs a command in the namespace and returns its output on both streams. It fails the test,
// with the output, if the command fails or takes more than two minutes.
func (n *NetNS) Run(t testing.TB, name string, args ...string) string {
	t.Helper()
	out, err := n.Try(name, args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Try is Run for a command that may fail: the error names the command and contains its output; it
// wraps an *exec.ExitError with the exit code.
func (n *NetNS) Try(name string, args ...string) (string, error) { return n.try(true, name, args...) }

// try is Try. The result contains the command's standard error only if both is set; an error
// always contains it.
func (n *NetNS) try(both bool, name string, args ...string) (string, error) {
	ctx, cancel := withLimit(runLimit)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	var out, complaint bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if !both {
		cmd.Stderr = &complaint
	}
	// A grandchild that keeps the output open must not block Wait.
	cmd.WaitDelay = outputLimit
	err := n.Do(cmd.Start)
	if err == nil {
		err = cmd.Wait()
	}
	if ctx.Err() != nil {
		err = fmt.Errorf("killed after %v", runLimit)
	}
	if err != nil {
		err = fmt.Errorf("in %s: %s: %w\n%s%s", n.Name, strings.Join(cmd.Args, " "), err, out.String(), complaint.String())
	}
	return out.String(), err
}

// DPCtl runs ovs-dpctl in the namespace and returns its output. From Open vSwitch 2.16 on, on
// kernels from 5.15 on, any of its commands that opens a datapath changes that datapath's user
// features, so a test must not use it while a daemon runs unless it tests this effect. On
// kernels without features that ovs-dpctl knows, it prints warnings on standard error, which
// DPCtl leaves out.
func (n *NetNS) DPCtl(t testing.TB, args ...string) string {
	t.Helper()
	out, err := n.try(false, "ovs-dpctl", args...)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// Process is a command that runs in parallel with the test.
type Process struct {
	cmd    *exec.Cmd
	output output
	exited chan struct{}
	err    error // error of Wait, valid after exited
}

// Start starts a command in the namespace. It is killed when the test ends; if the test failed, its
// output is logged.
func (n *NetNS) Start(t testing.TB, name string, args ...string) *Process {
	t.Helper()
	return n.StartCommand(t, exec.Command(name, args...))
}

// StartTo is Start with the output written to w instead of Output and WaitLine.
func (n *NetNS) StartTo(t testing.TB, w io.Writer, name string, args ...string) *Process {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdout, cmd.Stderr = w, w
	return n.StartCommand(t, cmd)
}

// StartCommand is Start for a prepared command. Output and WaitLine cover the streams that are nil
// in cmd.
func (n *NetNS) StartCommand(t testing.TB, cmd *exec.Cmd) *Process {
	t.Helper()
	p := &Process{cmd: cmd, exited: make(chan struct{})}
	p.output.grown = make(chan struct{})
	for _, w := range []*io.Writer{&cmd.Stdout, &cmd.Stderr} {
		if *w == nil {
			*w = &p.output
		}
	}
	cmd.WaitDelay = outputLimit
	if err := n.Do(cmd.Start); err != nil {
		t.Fatalf("in %s: start %s: %v", n.Name, strings.Join(cmd.Args, " "), err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	t.Cleanup(func() {
		// An error means that it has exited already.
		_ = p.cmd.Process.Kill()
		<-p.exited
		if t.Failed() {
			t.Logf("%s wrote:\n%s", cmd.Path, p.Output())
		}
	})
	return p
}

// Exited reports whether the process has exited.
func (p *Process) Exited() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// PID returns the process's id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Output returns what the process has written so far.
func (p *Process) Output() string {
	s, _ := p.output.read()
	return s
}

// WaitLine waits until the process has written a line that match accepts, and
// returns the first such line without its newline. It fails the test if the
// process exits or limit passes before that. Stalls of the guest do not count.
func (p *Process) WaitLine(t testing.TB, limit time.Duration, match func(line string) bool) string {
	t.Helper()
	timeout := newTimer(limit)
	defer timeout.Stop()
	exited := p.exited
	for at := 0; ; {
		// Lines that match has rejected are not checked again.
		out, grown := p.output.readFrom(at)
		for line := range strings.Lines(out) {
			line, whole := strings.CutSuffix(line, "\n")
			if !whole {
				break
			}
			if match(line) {
				return line
			}
			at += len(line) + 1
		}
		if exited == nil {
			t.Fatalf("%s exited (%v) before it wrote the line waited for", p.cmd.Path, p.err)
		}
		select {
		case <-grown:
		case <-exited:
			exited = nil // the output is complete now: check it once more
		case <-timeout.C:
			if timeout.passed() {
				t.Fatalf("%s did not write the line waited for within %v", p.cmd.Path, limit)
			}
		}
	}
}

// Stop sends a signal and waits at most limit for the exit, not counting stalls of the guest. It
// returns the exit error, nil for exit code 0, and fails the test if the process does not exit.
func (p *Process) Stop(t testing.TB, sig unix.Signal, limit time.Duration) error {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatalf("%s: send %v: %v", p.cmd.Path, sig, err)
	}
	if !p.waitExit(limit) {
		t.Fatalf("%s is still there %v after %v", p.cmd.Path, limit, sig)
	}
	return p.err
}

// waitExit waits for the exit, and reports whether it came within limit.
func (p *Process) waitExit(limit time.Duration) bool {
	timeout := newTimer(limit)
	defer timeout.Stop()
	for {
		select {
		case <-p.exited:
			return true
		case <-timeout.C:
			if timeout.passed() {
				return false
			}
		}
	}
}

// WaitExit waits for the process to exit by itself and returns its exit code.
func (p *Process) WaitExit(t testing.TB) int {
	t.Helper()
	if !p.waitExit(DaemonLimit) {
		t.Fatalf("%s is still there after %v", p.cmd.Path, DaemonLimit)
	}
	return p.cmd.ProcessState.ExitCode()
}

// output collects the output of a process, and wakes goroutines that wait for more.
type output struct {
	mu    sync.Mutex
	buf   []byte
	grown chan struct{} // closed and replaced by each Write
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.buf = append(o.buf, b...)
	close(o.grown)
	o.grown = make(chan struct{})
	return len(b), nil
}

func (o *output) read() (string, <-chan struct{}) { return o.readFrom(0) }

// readFrom returns the output after the first from bytes.
func (o *output) readFrom(from int) (string, <-chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return string(o.buf[from:]), o.grown
}
