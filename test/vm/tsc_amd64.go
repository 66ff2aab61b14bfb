package main

import "time"

// readTSC returns the CPU's time stamp counter.
func readTSC() uint64

// tscKHz measures the frequency of the host's time stamp counter, which emulated CPUs use too.
func tscKHz() int {
	const span = 100 * time.Millisecond
	at, ticks := sampleTSC()
	time.Sleep(span)
	at2, ticks2 := sampleTSC()
	return int(float64(ticks2-ticks) / at2.Sub(at).Seconds() / 1000)
}

// sampleTSC reads the counter and the time together. Of several attempts it returns the one with
// the shortest delay between the two.
func sampleTSC() (at time.Time, ticks uint64) {
	best := time.Hour
	for range 100 {
		before := time.Now()
		t := readTSC()
		if took := time.Since(before); took < best {
			best, at, ticks = took, before, t
		}
	}
	return at, ticks
}
