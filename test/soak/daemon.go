//go:build lab

package main

import (
	"os"
	"os/exec"
	"slices"
	"syscall"
	"time"

	"dpifd/internal/lab"
)

// waitLimit is how long the daemon may take for anything: a start, a stop, an
// event. It is far more than that takes on an idle machine.
const waitLimit = 60 * time.Second

// daemon is dpifd in the switch's namespace, and each that follows it.
type daemon struct {
	ns   *lab.NetNS
	file string // of the configuration
	book *book

	cmd    *exec.Cmd
	exited chan struct{}
	serial int // of the process
}

// start starts the daemon and waits until it is ready.
func (d *daemon) start() {
	mark := d.book.mark()
	d.cmd = exec.Command("dpifd", "run", "--config", d.file)
	d.cmd.Stdout, d.cmd.Stderr = d.book, d.book
	if err := d.ns.Do(d.cmd.Start); err != nil {
		violated("the lab works", "start dpifd: %v", err)
	}
	d.serial++
	exited, cmd := make(chan struct{}), d.cmd
	d.exited = exited
	go func() {
		defer close(exited)
		_ = cmd.Wait() // how it ended is in its state
	}()
	d.await(mark, "ready")
}

// end sends a signal and waits for the end.
func (d *daemon) end(sig syscall.Signal) *os.ProcessState {
	if err := d.cmd.Process.Signal(sig); err != nil {
		violated("the daemon runs", "%v", err)
	}
	select {
	case <-d.exited:
	case <-time.After(waitLimit):
		violated("the daemon stops", "it is still there %v after %v", waitLimit, sig)
	}
	return d.cmd.ProcessState
}

func (d *daemon) signal(sig syscall.Signal) {
	if err := d.cmd.Process.Signal(sig); err != nil {
		violated("the daemon runs", "%v", err)
	}
}

// await waits for an event of one of the names after a mark.
func (d *daemon) await(mark int, names ...string) lab.Event {
	return d.awaitMatch(mark, names[0], func(e lab.Event) bool { return slices.Contains(names, e.Name) })
}

// awaitMatch waits for an event after a mark that match accepts.
func (d *daemon) awaitMatch(mark int, what string, match func(lab.Event) bool) lab.Event {
	for deadline := time.Now().Add(waitLimit); ; time.Sleep(5 * time.Millisecond) {
		d.look()
		if e, ok := d.book.find(mark, match); ok {
			return e
		}
		if time.Now().After(deadline) {
			violated("the daemon answers", "no event %s within %v", what, waitLimit)
		}
	}
}

// look ends the run if the log shows a violation or the daemon has ended.
func (d *daemon) look() {
	if v := d.book.failure(); v != nil {
		panic(v)
	}
	select {
	case <-d.exited:
		violated("the daemon runs", "it ended: %v", d.cmd.ProcessState)
	default:
	}
}
