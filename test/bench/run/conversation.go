package main

import (
	"errors"
	"slices"
	"time"

	"dpifd/test/bench"
	"dpifd/test/bench/load"
)

// conversations runs conversations between new pairs of stations, one after the other: the first
// station asks for the second's address, the second answers, the first sends a request, the second
// responds. A latency covers all four frames: the time until a program has its response.
func (n *network) conversations(m *bench.Result, count int) (err error) {
	var here, there *load.Socket
	open := func(s **load.Socket, device string) func() error {
		return func() (err error) { *s, err = load.OpenAll(device); return err }
	}
	if err := inside(n.sender, open(&here, n.senders[0])); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, here.Close()) }()
	if err := inside(n.receiver, open(&there, receiving)); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, there.Close()) }()
	var took []time.Duration
	first := time.Now()
	for i := range count {
		frames, err := load.Conversation(uint32(i))
		if err != nil {
			return err
		}
		start := time.Now()
		for j, frame := range frames {
			from, to := here, there
			if j%2 == 1 {
				from, to = there, here
			}
			if err := from.SendAsIs(frame); err != nil {
				return err
			}
			if err := to.Await(frame, learnLimit); err != nil {
				return err
			}
		}
		took = append(took, time.Since(start))
	}
	m.Sent, m.Arrived, m.Seconds = count, count, time.Since(first).Seconds()
	slices.Sort(took)
	setLatency(m, took)
	return nil
}
