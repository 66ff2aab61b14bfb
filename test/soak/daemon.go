//go:build lab

package main

import (
	"slices"
	"time"

	"dpifd/internal/lab"

	"golang.org/x/sys/unix"
)

// waitLimit is the maximum time for anything that the daemon does: a start, a stop, an event. It is
// far more than an idle machine needs.
const waitLimit = 60 * time.Second

// daemon is the current dpifd process in the switch's namespace.
type daemon struct {
	tb   *harness
	ns   *lab.NetNS
	file string // configuration file
	book *book

	process *lab.Process // nil before the first start
	serial  int          // number of the process
}

// start starts the daemon and waits until it is ready.
func (d *daemon) start() {
	mark := d.book.mark()
	d.process = d.ns.StartTo(d.tb, d.book, lab.DaemonPath(d.tb), "run", "--config", d.file)
	d.serial++
	d.await(mark, "ready")
}

// end sends a signal and waits for the exit. It returns the exit error, nil for exit code 0.
func (d *daemon) end(sig unix.Signal) error { return d.process.Stop(d.tb, sig, waitLimit) }

func (d *daemon) signal(sig unix.Signal) {
	if err := unix.Kill(d.process.PID(), sig); err != nil {
		violated("the daemon runs", "%v", err)
	}
}

// await waits for an event with one of the names after a mark.
func (d *daemon) await(mark int, names ...string) lab.Event {
	return d.awaitMatch(mark, names[0], func(e lab.Event) bool { return slices.Contains(names, e.Name) })
}

// awaitMatch waits for an event after a mark that match accepts.
func (d *daemon) awaitMatch(mark int, what string, match func(lab.Event) bool) lab.Event {
	for within := lab.Within(waitLimit); ; time.Sleep(5 * time.Millisecond) {
		d.look()
		if e, ok := d.book.find(mark, match); ok {
			return e
		}
		if within.Passed() {
			violated("the daemon answers", "no event %s within %v", what, waitLimit)
		}
	}
}

// look ends the run if the log shows a violation or the daemon has exited.
func (d *daemon) look() {
	if v := d.book.failure(); v != nil {
		panic(v)
	}
	if d.process.Exited() {
		violated("the daemon runs", "it ended: exit code %d", d.process.WaitExit(d.tb))
	}
}
