//go:build lab

package main

import (
	"math/rand/v2"
	"sync"
	"time"

	"dpifd/internal/lab"
)

// Tags of frames.
const (
	steady = iota // between two stations, so by a permanent flow
	fresh         // between stable plugs, mostly from a new station
	other         // from or to a plug that may be unplugged
)

// Frames per second.
const (
	steadyRate = 40
	freshRate  = 120
	otherRate  = 50
	// stations is the number of stations of each stable plug.
	stations = 3000
)

// traffic sends frames until it is stopped. While it is paused, none of its frames is in flight.
type traffic struct {
	bay     *lab.Patchbay
	random  *rand.Rand
	sending sync.Mutex // held to send frames and to pause
	done    chan struct{}
	ended   chan struct{}
	err     error // of sending; read it after pause
}

func startTraffic(bay *lab.Patchbay, seed uint64) *traffic {
	t := &traffic{bay: bay, random: rand.New(rand.NewPCG(seed, 1)), done: make(chan struct{}), ended: make(chan struct{})}
	go t.run()
	return t
}

func (t *traffic) run() {
	defer close(t.ended)
	last := time.Now()
	var due [3]float64
	for {
		select {
		case <-t.done:
			return
		case <-time.After(5 * time.Millisecond):
		}
		t.sending.Lock()
		// After a stall, do not send everything that is overdue at once.
		passed := min(time.Since(last), 100*time.Millisecond).Seconds()
		last = time.Now()
		for tag, rate := range []float64{steady: steadyRate, fresh: freshRate, other: otherRate} {
			for due[tag] += rate * passed; due[tag] >= 1; due[tag]-- {
				t.one(tag)
			}
		}
		t.sending.Unlock()
	}
}

// one sends a frame. The caller holds t.sending.
func (t *traffic) one(tag int) {
	from, station, to := 0, 0, 0
	switch tag {
	case steady:
		from, to = steadyLeft, steadyRight
		if t.random.IntN(2) == 0 {
			from, to = to, from
		}
	case fresh:
		from, to = t.talker(), t.talker()
		for from == to {
			to = t.talker()
		}
		station = 1 + t.random.IntN(stations)
	case other:
		from, to = t.talker(), t.talker()
		if there := t.bay.Plugs(stablePlugs); len(there) > 0 {
			from = there[t.random.IntN(len(there))]
		}
		if t.random.IntN(2) == 0 {
			from, to = to, from
		}
		if t.random.IntN(4) == 0 {
			to = stablePlugs + t.random.IntN(churnPlugs) // may be unplugged
		}
		if from == to {
			return
		}
	}
	if _, err := t.bay.Send(from, station, to, tag); err != nil && t.err == nil {
		t.err = err
	}
}

// talker chooses a stable plug other than the witness.
func (t *traffic) talker() int {
	i := t.random.IntN(stablePlugs - 1)
	if i >= witness {
		i++
	}
	return i
}

// burst sends count frames from new stations as fast as possible.
func (t *traffic) burst(count int) {
	t.sending.Lock()
	defer t.sending.Unlock()
	for range count {
		t.one(fresh)
	}
}

// pause waits until no frame is being sent, and prevents sending until resume.
func (t *traffic) pause() error {
	t.sending.Lock()
	return t.err
}

func (t *traffic) resume() { t.sending.Unlock() }

// stop ends the traffic.
func (t *traffic) stop() {
	close(t.done)
	<-t.ended
}
