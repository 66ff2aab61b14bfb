//go:build lab

package main

import (
	"fmt"
	"maps"
	"slices"
	"time"
)

// progressInterval is the time between two lines of progress.
const progressInterval = 10 * time.Second

// progress prints one line.
func (s *soak) progress() {
	frames := s.bay.Frames(1<<62, nil)
	rss := 0
	if all := s.memory.all(); len(all) > 0 {
		rss = all[len(all)-1].kib
	}
	t := s.total
	fmt.Printf("%7s  %d actions, %d plugs, process %d; %d frames, checked: %d missing, %d in gaps, %d logged lost; "+
		"%d fds, %d goroutines, %d KiB\n",
		s.at(time.Now()), s.count(), len(s.bay.Plugs(stablePlugs)), s.daemon.serial, frames,
		t.missing[steady]+t.missing[fresh], t.gap, t.logged, s.census.FDs, s.goroutines, rss)
}

// count returns the number of actions so far.
func (s *soak) count() int {
	n := 0
	for _, k := range s.done {
		n += k
	}
	return n
}

// table prints the actions and results of the run.
func (s *soak) table(length time.Duration) {
	row := func(name, format string, args ...any) {
		fmt.Printf("| %-34s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	row("what", "figure")
	fmt.Printf("|%s|%s|\n", "------------------------------------", "--------")
	row("time, seed, dispatch", "%v of %v, %d, %s",
		time.Since(s.started).Round(time.Second), length, s.seed, s.plan.dispatch)
	for _, k := range slices.Sorted(maps.Keys(kindNames)) {
		row(k.String(), "%d", s.done[k])
	}
	if s.bay == nil || s.memory == nil {
		return
	}
	t := s.total
	row("frames sent in all", "%d", s.bay.Frames(1<<62, nil))
	row("between stable ports: sent", "%d (%d of them steady)", t.sent[steady]+t.sent[fresh], t.sent[steady])
	row("missing of these", "%d (%d steady)", t.missing[steady]+t.missing[fresh], t.missing[steady])
	row("in gaps (kill -9, del-dp)", "%d", t.gap)
	row("frames flooded", "%d", t.flooded)
	s.book.mu.Lock()
	defer s.book.mu.Unlock()
	for _, cause := range slices.Sorted(maps.Keys(s.book.lost)) {
		row("lost by the log, all ports: "+cause, "%d", s.book.lost[cause])
	}
	row("upcalls", "%d", s.book.upcalls+s.book.previous["upcalls"])
	row("most flows, of a limit of", "%d, %d", s.book.flows.most, s.book.flows.limit)
	first, second := halves(s.memory.all())
	row("resident memory, first half", "%d KiB", first)
	row("resident memory, second half", "%d KiB", second)
	row("processes", "%d", s.daemon.serial)
	row("at the last check", "%d ports, %v, %d goroutines", s.ports, s.census, s.goroutines)
}
