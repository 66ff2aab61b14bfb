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

// FlowsNotCorrected reports stale flows that could not get their new actions. They were
// deleted, so their packets are upcalls.
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

// stuckReport is the minimum interval of FlowsNotCorrected.
const stuckReport = 10 * time.Second

const reasonTooLong = "actions_too_long"

// stuckFlows are the flows whose correction failed. It belongs to the revalidator's
// goroutine.
type stuckFlows struct {
	modified   []dpif.Flow // identities of the flows that the sweep corrects, in the order of its requests
	answered   int         // of modified
	list       []dpif.Flow // of modified, those refused
	unreported int         // flows not yet reported by an event
	err        error       // of the last of these
	reported   time.Time
}

// reset prepares for a sweep.
func (s *stuckFlows) reset() { s.modified, s.answered, s.list = s.modified[:0], 0, s.list[:0] }

// asked records that the sweep corrects f.
func (s *stuckFlows) asked(f *dpif.Flow) {
	id := dpif.Flow{UFID: f.UFID, HasUFID: f.HasUFID}
	if !f.HasUFID {
		id.Key = slices.Clone(f.Key)
	}
	s.modified = append(s.modified, id)
}

// taken records that the next correction succeeded.
func (s *stuckFlows) taken() { s.answered++ }

// refused records that the next correction failed.
func (s *stuckFlows) refused(err error) {
	s.list = append(s.list, s.modified[s.answered])
	s.answered++
	s.unreported, s.err = s.unreported+1, err
}

// tooLong records a flow that is deleted because its new actions do not fit in a message.
func (s *stuckFlows) tooLong(bytes int) {
	s.unreported, s.err = s.unreported+1, fmt.Errorf("%d bytes of actions: %w", bytes, unix.EMSGSIZE)
}

// due returns the event to emit, if it is time.
func (s *stuckFlows) due(now time.Time) (FlowsNotCorrected, bool) {
	if s.unreported == 0 || now.Sub(s.reported) < stuckReport {
		return FlowsNotCorrected{}, false
	}
	e := FlowsNotCorrected{Flows: s.unreported, Err: s.err}
	s.unreported, s.reported = 0, now
	return e, true
}

// deleteStuck deletes the flows whose correction failed in the sweep. The next cycle checks
// those that the kernel does not delete either.
func (r *Revalidator) deleteStuck() error {
	if e, due := r.stuck.due(time.Now()); due {
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
