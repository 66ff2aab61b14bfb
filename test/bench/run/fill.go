package main

import "time"

const (
	fillChunk = 500 // pairs of stations per chunk
	// fillWait is the time without a new flow after which a chunk is sent again.
	fillWait = 250 * time.Millisecond
	fillPoll = 5 * time.Millisecond
	// fillRetries is how many times in a row a chunk may add no flow: an adaptive flow limit grows
	// within a second.
	fillRetries = 40
	fillLimit   = 4 * time.Minute // per size
)

// filler makes a switch install flows, one for each pair of stations, as fast as the switch does.
type filler struct {
	send  func(from, to int) error // sends a frame of each of these pairs
	flows func() (int, error)      // returns the flows in the datapath
	next  int                      // first pair without a flow
	sleep func(time.Duration)
}

// to fills the datapath until there are target flows or the switch installs no more, and returns
// the number of flows.
func (f *filler) to(target int) (int, error) {
	end := time.Now().Add(fillLimit)
	held, err := f.flows()
	if held < f.next*99/100 {
		f.next = 0 // flows were deleted since
	}
	for err == nil && held < target && time.Now().Before(end) {
		n := min(fillChunk, target-held)
		goal := held + n
		// When a chunk is sent again, pairs with a flow cause no upcall.
		for fruitless := 0; err == nil && held < goal; {
			if fruitless++; fruitless > fillRetries {
				return held, nil
			}
			if err = f.send(f.next, f.next+n); err != nil {
				break
			}
			before := held
			if held, err = f.settle(goal); held > before {
				fruitless = 0
			} else if held < before {
				return held, err // the switch deletes flows: more would not stay
			}
		}
		if err == nil {
			f.next += n
		}
	}
	return held, err
}

// settle waits until there are goal flows, or no new flow for a while.
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
