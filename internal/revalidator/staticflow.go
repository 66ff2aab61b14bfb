package revalidator

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"sync"

	"dpifd/internal/backoff"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// StaticFlowStats is a static flow with its state.
type StaticFlowStats struct {
	policy.StaticFlow
	Installed bool
	Packets   uint64 // matched by the kernel since it was last installed
	Bytes     uint64
}

// maxTries is the number of cycles within which an overlapping flow must be deleted before a
// static flow counts as refused.
const maxTries = 4

// looksPerCycle is the number of installed flows checked per cycle; more flows are checked over
// several cycles.
const looksPerCycle = 1000

// statics keeps the static flows in the datapath. It belongs to the revalidator's goroutine,
// except the fields that mu guards.
type statics struct {
	dp      *dpif.Datapath
	policy  policy.StaticPolicy // nil if the policy has none
	notify  event.Sink
	batch   *dpif.Batch
	asked   []*static       // of each request of batch
	emitted map[string]bool // events of this cycle, by kind and match

	mu    sync.Mutex
	flows map[dpif.UFID]*static
}

// static is one static flow that is installed or will be. The goroutine that owns statics
// writes it with mu held.
type static struct {
	StaticFlowStats
	// kernel are the actions as the kernel reports them, which may differ from those that were
	// sent; nil if they were not read since.
	kernel  []byte
	tries   int
	waiting string          // missing port that was reported
	failure string          // reported failure
	retry   backoff.Backoff // for a flow that the kernel rejected
	dropped bool            // no longer configured
}

func newStatics(dp *dpif.Datapath, p policy.Policy, notify event.Sink) *statics {
	s := &statics{
		dp: dp, notify: notify, batch: dp.NewBatch(),
		flows: map[dpif.UFID]*static{}, emitted: map[string]bool{},
	}
	s.policy, _ = p.(policy.StaticPolicy)
	return s
}

// owns reports whether the flow is a static one.
func (s *statics) owns(f *dpif.Flow) bool {
	if !f.HasUFID || len(s.flows) == 0 {
		return false
	}
	t := s.flows[f.UFID]
	return t != nil && !t.dropped
}

// configured takes over the policy's flows. It runs before a dump, so that owns knows flows
// that a previous process installed.
func (s *statics) configured() {
	if s.policy == nil {
		return
	}
	list := s.policy.StaticFlows()
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(list) == 0 && len(s.flows) == 0 {
		return
	}
	for _, t := range s.flows {
		t.dropped = true
	}
	for i := range list {
		f := &list[i]
		t := s.flows[f.UFID]
		if t == nil {
			t = &static{}
			s.flows[f.UFID] = t
		}
		if !bytes.Equal(t.Do, f.Do) {
			t.kernel, t.retry = nil, backoff.Backoff{}
		}
		t.StaticFlow, t.dropped = *f, false
	}
}

// keep checks each static flow in the datapath and corrects differences. It reports whether it
// must be called again soon.
func (s *statics) keep() (again bool, err error) {
	if s.policy == nil || len(s.flows) == 0 {
		return false, nil
	}
	s.batch.Reset()
	s.asked = s.asked[:0]
	clear(s.emitted)
	now := clock.Now()
	looked := 0
	for id, t := range s.flows { // in random order
		inPlace := t.Installed && t.kernel != nil && !t.dropped
		switch {
		case !t.dropped && !t.retry.Due(now), inPlace && looked == looksPerCycle:
			continue
		case t.Missing != "":
			if t.dropped {
				s.forget(id)
			} else if t.waiting != t.Missing {
				t.waiting = t.Missing
				s.emitOnce(t.Match, StaticFlowWaiting{Match: t.Match, Missing: t.Missing})
			}
			continue
		case t.dropped:
			s.batch.DeleteFlow(t.flow())
		default:
			s.batch.GetFlow(t.flow())
		}
		if inPlace {
			looked++
		}
		s.asked = append(s.asked, t)
	}
	var put []*static
	err = s.transact(func(t *static, f *dpif.Flow, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		switch {
		case t.dropped:
			s.ended(t, err)
		case errors.Is(err, unix.ENOENT):
			if t.Installed {
				s.emitOnce(t.Match, StaticFlowRestored{Match: t.Match, UFID: t.UFID, Cause: "deleted"})
			}
			t.Installed, t.kernel, t.Packets, t.Bytes = false, nil, 0, 0
			put = append(put, t)
		case err != nil || f == nil:
			s.failed(t, err)
		default:
			if t.kernel == nil && bytes.Equal(f.Actions, t.Do) {
				t.kernel = slices.Clone(f.Actions)
			}
			if t.kernel == nil || !bytes.Equal(f.Actions, t.kernel) {
				if t.Installed && t.kernel != nil {
					s.emitOnce(t.Match, StaticFlowRestored{Match: t.Match, UFID: t.UFID, Cause: "changed"})
				}
				t.kernel = nil
				put = append(put, t)
			}
			if !t.Installed {
				s.installed(t)
			}
			t.Packets, t.Bytes = f.Packets, f.Bytes
		}
	})
	if err != nil || len(put) == 0 {
		return false, err
	}
	return s.put(put)
}

// emitOnce emits an event about flows with the match, once per cycle, because one match may have a flow
// on each port.
func (s *statics) emitOnce(match string, e event.Event) {
	what := fmt.Sprintf("%T %s", e, match)
	if !s.emitted[what] {
		s.emitted[what] = true
		s.notify(e)
	}
}

// put installs missing flows and corrects the actions of others.
func (s *statics) put(list []*static) (again bool, err error) {
	s.batch.Reset()
	s.asked = s.asked[:0]
	for _, t := range list {
		mode := dpif.Create
		if t.Installed {
			mode = dpif.Modify
		}
		s.batch.PutFlow(t.flow(), mode)
		s.batch.GetFlow(t.flow())
		s.asked = append(s.asked, t, t)
	}
	var request int
	var refused error // result of the put before the lookup
	err = s.transact(func(t *static, f *dpif.Flow, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		request++
		if isPut := request%2 == 1; !isPut {
			if refused == nil && err == nil && f != nil {
				t.kernel = slices.Clone(f.Actions)
			}
			return
		}
		refused = err
		switch {
		case errors.Is(err, unix.EEXIST) && t.tries < maxTries:
			t.tries++ // a flow of the policy that is about to be deleted
			again = true
		case err != nil:
			s.failed(t, err)
		case !t.Installed:
			s.installed(t)
		}
	})
	return again, err
}

func (s *statics) transact(each func(t *static, f *dpif.Flow, err error)) error {
	if len(s.asked) == 0 {
		return nil
	}
	return s.dp.Transact(s.batch, func(i int, f *dpif.Flow, err error) { each(s.asked[i], f, err) })
}

func (s *statics) installed(t *static) {
	t.Installed, t.tries, t.waiting, t.failure = true, 0, "", ""
	t.retry = backoff.Backoff{}
	s.emitOnce(t.Match, StaticFlowInstalled{Match: t.Match, Actions: t.Actions, UFID: t.UFID})
}

// failed reports once why a flow cannot be installed.
func (s *statics) failed(t *static, err error) {
	if err == nil || isDatapathGone(err) {
		return
	}
	t.retry = t.retry.Next(clock.Now())
	if t.failure == err.Error() {
		return
	}
	t.failure = err.Error()
	s.emitOnce(t.Match, StaticFlowFailed{Match: t.Match, Actions: t.Actions, Err: err})
}

// isDatapathGone reports whether err is about the datapath and not the flow.
func isDatapathGone(err error) bool { return errors.Is(err, unix.ENODEV) }

// ended handles the answer to a deletion. The caller holds mu.
func (s *statics) ended(t *static, err error) {
	if err != nil && !errors.Is(err, unix.ENOENT) {
		return // the next cycle tries again
	}
	delete(s.flows, t.UFID)
	if t.Installed {
		s.emitOnce(t.Match, StaticFlowRemoved{Match: t.Match, UFID: t.UFID})
	}
}

func (s *statics) forget(id dpif.UFID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.flows, id)
}

// flow returns t in the form of a request.
func (t *static) flow() *dpif.Flow {
	return &dpif.Flow{UFID: t.UFID, HasUFID: true, Key: t.Key, Mask: t.Mask, Actions: t.Do}
}

// list returns all static flows, in the order of their matches.
func (s *statics) list() []StaticFlowStats {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := make([]StaticFlowStats, 0, len(s.flows))
	for _, t := range s.flows {
		if !t.dropped {
			all = append(all, t.StaticFlowStats)
		}
	}
	slices.SortFunc(all, func(a, b StaticFlowStats) int { return bytes.Compare([]byte(a.Match), []byte(b.Match)) })
	return all
}

// installedCount returns how many static flows are in the datapath.
func (s *statics) installedCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := 0
	for _, t := range s.flows {
		if t.Installed {
			n++
		}
	}
	return n
}
