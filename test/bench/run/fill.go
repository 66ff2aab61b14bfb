package main

import "time"

const (
	fillChunk = 500 // pairs of stations at once
	// fillWait is how long a chunk may bring no flow until it is sent again.
	fillWait = 250 * time.Millisecond
	fillPoll = 5 * time.Millisecond
	// fillPatience is how often in a row a chunk may bring no flow: a limit that
	// adapts grows within a second.
	fillPatience = 40
	fillLimit    = 4 * time.Minute // for one size
)

// filler has a switch install flows, one for each pair of stations, as fast as it
// takes them up.
type filler struct {
	send  func(from, to int) error // a frame of each of these pairs
	flows func() (int, error)      // in the datapath
	next  int                      // pairs before this one have flows
	sleep func(time.Duration)
}

// to fills up until there are so many flows, or the switch takes no more, and
// returns how many there are.
func (f *filler) to(target int) (int, error) {
	end := time.Now().Add(fillLimit)
	held, err := f.flows()
	if held < f.next*99/100 {
		f.next = 0 // flows went since
	}
	for err == nil && held < target && time.Now().Before(end) {
		n := min(fillChunk, target-held)
		goal := held + n
		// Pairs that have flows by now only use these when the chunk is sent again.
		for fruitless := 0; err == nil && held < goal; {
			if fruitless++; fruitless > fillPatience {
				return held, nil
			}
			if err = f.send(f.next, f.next+n); err != nil {
				break
			}
			before := held
			if held, err = f.settle(goal); held > before {
				fruitless = 0
			} else if held < before {
				return held, err // the switch makes room: more would not stay
			}
		}
		if err == nil {
			f.next += n
		}
	}
	return held, err
}

// settle waits until there are so many flows, or no new one for a while.
func (f *filler) settle(goal int) (int, error) {
	held, err := f.flows()
	for quiet := time.Duration(0); err == nil && held < goal && quiet < fillWait; quiet += fillPoll {
		f.sleep(fillPoll)
		before := held
		if held, err = f.flows(); held > before {
			quiet = 0
		}
	}
	return held, err
}
