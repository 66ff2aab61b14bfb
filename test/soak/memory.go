//go:build lab

package main

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"dpifd/internal/lab"
)

// memory samples the daemon's resident memory once a second.
type memory struct {
	pid, serial atomic.Int64 // the process to sample, 0 for none
	done        chan struct{}
	once        sync.Once
	ended       chan struct{}

	mu      sync.Mutex
	samples []sample
}

// sample is the resident memory of one process.
type sample struct {
	process int64
	kib     int
}

func watchMemory(d *daemon) *memory {
	m := &memory{done: make(chan struct{}), ended: make(chan struct{})}
	m.watch(d)
	go m.run()
	return m
}

// watch samples the current process from now on.
func (m *memory) watch(d *daemon) {
	m.serial.Store(int64(d.serial))
	m.pid.Store(int64(d.process.PID()))
}

func (m *memory) run() {
	defer close(m.ended)
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-m.done:
			return
		case <-tick.C:
		}
		// A process that has exited has no memory.
		if c, err := lab.TakeCensus(int(m.pid.Load())); err == nil && c.RSSKiB > 0 {
			m.mu.Lock()
			m.samples = append(m.samples, sample{m.serial.Load(), c.RSSKiB})
			m.mu.Unlock()
		}
	}
}

func (m *memory) stop() {
	m.once.Do(func() { close(m.done) })
	<-m.ended
}

// Memory may grow by a fifth and by 4 MiB: the garbage collector lets the heap double before it
// runs, and load varies.
const (
	growthPart   = 5
	growthKiB    = 4 << 10
	warmUp       = 20 // ignored first samples of each process
	enoughToTell = 60 // samples needed for a process
)

// mean returns the average of samples, in KiB.
func mean(samples []sample) int {
	sum := 0
	for _, s := range samples {
		sum += s.kib
	}
	return sum / max(1, len(samples))
}

// halves returns the average over the first and the second half of samples.
func halves(samples []sample) (first, second int) {
	return mean(samples[:len(samples)/2]), mean(samples[len(samples)/2:])
}

// judge compares the second half of the run with the first, and also for each process that ran long
// enough.
func (m *memory) judge() error {
	byProcess := map[int64][]sample{}
	var warm []sample
	for _, s := range m.samples {
		byProcess[s.process] = append(byProcess[s.process], s)
		if len(byProcess[s.process]) > warmUp {
			warm = append(warm, s)
		}
	}
	byProcess[0] = append(make([]sample, warmUp), warm...) // the whole run
	for process, samples := range byProcess {
		if len(samples) < warmUp+enoughToTell {
			continue
		}
		first, second := halves(samples[warmUp:])
		if second > first+first/growthPart+growthKiB {
			return fmt.Errorf("process %d (0: all): %d KiB on average in the first half of its samples, %d KiB "+
				"in the second", process, first, second)
		}
	}
	return nil
}

// all returns the samples taken so far.
func (m *memory) all() []sample {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.samples[:len(m.samples):len(m.samples)]
}
