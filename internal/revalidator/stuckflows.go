package revalidator

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/event"

	"golang.org/x/sys/unix"
)

// FlowsNotCorrected says that flows which do not hold any more could not be given their
// new actions. They were deleted, so that their packets come up.
type FlowsNotCorrected struct {
	event.OfDatapath
	Flows int   `event:"flows"`
	Err   error `event:"error"`
}

var _ = event.Declare[FlowsNotCorrected](event.Kind{Name: "flows_not_corrected", Level: event.Warn,
	Meaning: "Stale flows could not get their new actions, so dpifd deleted them; their packets are forwarded " +
		"through upcalls. `flows` counts them since the last such event; at most one event in ten seconds.",
	Advice: "Nothing if rare. If it repeats with `message too long`, floods go to more ports than a flow can hold: " +
		"see docs/RUNBOOK.md.",
})

// stuckReport is the least time from one FlowsNotCorrected to the next.
const stuckReport = 10 * time.Second

const reasonTooLong = "actions_too_long"

// stuckFlows are the flows whose correction failed. It belongs to the revalidator's
// goroutine.
type stuckFlows struct {
	modified []dpif.Flow // identities of the flows that the sweep corrects, in the order of its requests
	answered int         // of modified
	list     []dpif.Flow // of these, refused
	untold   int         // flows that no event has told of
	err      error       // of the last of these
	told     time.Time
}

// reset prepares for a sweep.
func (s *stuckFlows) reset() { s.modified, s.answered, s.list = s.modified[:0], 0, s.list[:0] }

// asked notes that the sweep corrects f.
func (s *stuckFlows) asked(f *dpif.Flow) {
	id := dpif.Flow{UFID: f.UFID, HasUFID: f.HasUFID}
	if !f.HasUFID {
		id.Key = slices.Clone(f.Key)
	}
	s.modified = append(s.modified, id)
}

// taken takes the answer that the next correction has succeeded.
func (s *stuckFlows) taken() { s.answered++ }

// refused takes the answer that the next correction has failed.
func (s *stuckFlows) refused(err error) {
	s.list = append(s.list, s.modified[s.answered])
	s.answered++
	s.untold, s.err = s.untold+1, err
}

// tooLong notes a flow that is deleted because its new actions do not fit a message.
func (s *stuckFlows) tooLong(bytes int) {
	s.untold, s.err = s.untold+1, fmt.Errorf("%d bytes of actions: %w", bytes, unix.EMSGSIZE)
}

// due returns what there is to tell, if it is time to.
func (s *stuckFlows) due(now time.Time) (FlowsNotCorrected, bool) {
	if s.untold == 0 || now.Sub(s.told) < stuckReport {
		return FlowsNotCorrected{}, false
	}
	e := FlowsNotCorrected{Flows: s.untold, Err: s.err}
	s.untold, s.told = 0, now
	return e, true
}

// deleteStuck deletes the flows whose correction failed in the sweep. Those that the kernel
// does not delete either are looked at again in the next cycle.
func (r *Revalidator) deleteStuck() error {
	if e, tell := r.stuck.due(time.Now()); tell {
		r.notify(e)
	}
	if len(r.stuck.list) == 0 {
		return nil
	}
	r.sweep.Reset()
	for i := range r.stuck.list {
		r.sweep.DeleteFlow(&r.stuck.list[i])
	}
	err := r.dp.Transact(r.sweep, func(_ int, _ *dpif.Flow, err error) {
		if err != nil && !errors.Is(err, unix.ENOENT) {
			r.counters.failed.Add(1)
			r.again = true
			return
		}
		r.counters.deleted.Add(1)
	})
	if err != nil {
		return fmt.Errorf("deletion of %d flows that could not be corrected: %w", len(r.stuck.list), err)
	}
	return nil
}
