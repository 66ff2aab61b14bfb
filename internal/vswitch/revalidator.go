package vswitch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// revalidatorCycle is the time from the start of one dump to the next
// (ofproto-dpif-upcall.c of Open vSwitch 3.x).
const revalidatorCycle = 500 * time.Millisecond

// restCycles is in how many cycles the kernel is asked for the number of flows in
// any case.
const restCycles = 5

// FlowTracer is told of each flow that the revalidator changes, after it was
// idle for so long: op is "delete" or "modify". It must not keep what it is
// given.
type FlowTracer func(op, reason string, f *dpif.Flow, idle time.Duration)

// Revalidator deletes idle flows and re-decides flows whose inputs changed.
// A cycle has two phases: Dump goes through the kernel's flow table and
// gathers requests, Sweep sends them. As long as the policy's generation
// stands still, and nothing that it knows is about to be forgotten, the dump is
// terse: the kernel sends identifiers and statistics only. A cycle whose dump
// would find nothing to do goes without, see dumpPace.
type Revalidator struct {
	dp      *dpif.Datapath
	policy  policy.Policy
	budget  *flowBudget
	hasher  *odp.MaskedHasher
	notify  event.Sink
	trace   *atomic.Pointer[FlowTracer]
	landed  func() // waits until what handlers have decided so far is in the kernel
	limits  atomic.Pointer[flowLimits]
	limit   flowLimit
	maxIdle time.Duration // of the dump under way
	idle    time.Duration // that it allows while there are more flows than the limit, 0 none
	excess  int           // by how many there are more

	// A flow that no packet has matched yet has no time of use. If its UFID does
	// not tell when it was made, the time of the cycle before the dump that first
	// showed it stands in.
	unused, unusedBefore map[dpif.UFID]int64

	statics    *statics
	meters     *meters
	sweep      *dpif.Batch
	changes    []change // what each request of sweep does
	stuck      stuckFlows
	verdict    policy.Verdict
	key, mask  netlink.Encoder
	covering   []byte // a mask that covers the next one
	covered    []byte
	generation uint64      // of the policy at the last dump
	again      bool        // the next dump is full as well
	full       atomic.Bool // the next dump is to be full, see lookAtAll
	pace       dumpPace
	fullPace   fullPace
	overLimit  bool
	rested     int // cycles since settle
	kick       chan struct{}

	rounds  atomic.Uint64 // of run; before that, flows adopted
	running atomic.Bool

	counters revalidatorCounters
}

// change is what a request of the sweep does to a flow.
type change uint8

const (
	changeExpire change = iota // delete it as idle
	changeDelete               // delete it because it does not hold any more
	changeModify               // give it other actions
)

type revalidatorCounters struct {
	cycles, fullCycles          atomic.Uint64
	looks                       atomic.Uint64 // cycles that ended well, those without need of a dump as well
	expired, corrected, deleted atomic.Uint64
	failed                      atomic.Uint64
	flows                       atomic.Int64 // in the datapath at the last cycle
	lastDump                    atomic.Int64 // ns
}

// RevalidatorCounters count since start, but for Flows and LastDump.
type RevalidatorCounters struct {
	Cycles     uint64 // that dumped
	FullCycles uint64 // of these, with keys and actions, to re-decide
	Expired    uint64 // flows deleted as idle
	Deleted    uint64 // flows deleted because they no longer hold
	Corrected  uint64 // flows given other actions
	Failed     uint64 // requests that the kernel refused
	Flows      int64  // in the datapath at the last cycle
	LastDump   time.Duration
}

func (c *revalidatorCounters) snapshot() RevalidatorCounters {
	return RevalidatorCounters{
		Cycles: c.cycles.Load(), FullCycles: c.fullCycles.Load(), Expired: c.expired.Load(),
		Deleted: c.deleted.Load(), Corrected: c.corrected.Load(), Failed: c.failed.Load(),
		Flows: c.flows.Load(), LastDump: time.Duration(c.lastDump.Load()),
	}
}

// flowLimits are the configured limits, which may change at any time.
type flowLimits struct {
	maxIdle time.Duration
	flows   int
	maxDump time.Duration
}

func newRevalidator(dp *dpif.Datapath, cfg *Config, budget *flowBudget, hasher *odp.MaskedHasher, trace *atomic.Pointer[FlowTracer]) *Revalidator {
	r := &Revalidator{
		dp: dp, policy: cfg.Policy, budget: budget, hasher: hasher, notify: cfg.Notify, trace: trace,
		limit: newFlowLimit(cfg.FlowLimit), landed: func() {},
		unused: map[dpif.UFID]int64{}, unusedBefore: map[dpif.UFID]int64{},
		sweep: dp.NewBatch(), kick: make(chan struct{}, 1),
	}
	r.limits.Store(&flowLimits{cfg.MaxIdle, cfg.FlowLimit, cfg.MaxDump})
	r.statics = newStatics(dp, cfg.Policy, cfg.Notify)
	r.meters = newMeters(dp, cfg.Policy, cfg.Notify)
	return r
}

// adopt lets the policy learn from the flows that are there before the daemon
// serves its first upcall, and returns how many there are.
func (r *Revalidator) adopt() (int, error) {
	n := 0
	err := r.dp.Flows(false, func() { n = 0 }, func(f *dpif.Flow) error {
		n++
		r.rounds.Add(1)
		if f.Key != nil && f.UsedMS != 0 {
			r.policy.Observe(f.Key, f.UsedMS)
		}
		return nil
	})
	r.limit.adopt(n)
	r.budget.limit.Store(int64(r.limit.current))
	r.budget.count.Store(int64(n))
	return n, err
}

// run works until ctx ends. It calls gone when the datapath seems to be.
func (r *Revalidator) run(ctx context.Context, gone func()) {
	r.running.Store(true)
	full := true // the first cycle corrects what was adopted
	tick := time.NewTicker(revalidatorCycle)
	defer tick.Stop()
	for {
		start := time.Now()
		r.statics.configured()
		r.meters.configured()
		err := r.cycle(ctx, full)
		if err == nil {
			err = r.keepStatics()
		}
		if err != nil {
			if ctx.Err() != nil {
				return
			}
			if dpif.IsGone(err) {
				gone()
			} else {
				r.notify(RevalidatorFailed{Err: err, At: time.Since(start)})
			}
		}
		full = false
		r.rounds.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.kick:
		}
		if ctx.Err() != nil {
			return // of several cases that are ready any is taken
		}
	}
}

// keepStatics sees to the static flows. When one of them overlaps a flow that
// is about to go, the next cycle, which comes soon, looks at all flows again.
func (r *Revalidator) keepStatics() error {
	again, err := r.statics.keep()
	r.again = r.again || again
	return err
}

// hurry has the next cycle begin at once. Any goroutine may call it.
func (r *Revalidator) hurry() {
	select {
	case r.kick <- struct{}{}:
	default: // it is about to
	}
}

// lookAtAll has the next cycle look at all flows, at once. Any goroutine may call
// it.
func (r *Revalidator) lookAtAll() {
	r.full.Store(true)
	r.hurry()
}

// cycle ends between its phases when ctx does.
func (r *Revalidator) cycle(ctx context.Context, full bool) error {
	now := clock.NowMS()
	limits := r.limits.Load()
	if e, say := r.limit.setCap(limits.flows, time.Now()); say {
		r.notify(e)
	}
	r.budget.limit.Store(int64(r.limit.current))
	generation := r.policy.Generation()
	changed := generation != r.generation
	expiring := r.policy.Expiring(now)
	// What is not looked at now for lack of time stays due.
	urgent := full || changed || r.again || r.full.Load()
	full = urgent && r.fullPace.allows(time.Now(), urgentShare) || expiring && r.fullPace.allows(time.Now(), lazyShare)
	if !full && !r.pace.due(now, limits.maxIdle, int(r.budget.count.Load()), r.limit.current, limits.flows) {
		r.counters.looks.Add(1)
		return r.rest()
	}
	asked := full && r.full.Swap(false)
	if changed && full {
		// A flow that was decided before the change could be installed after the
		// dump had passed its place.
		r.landed()
	}
	again := r.again
	r.again = again && !full // the sweep may set it
	start := time.Now()
	if err := r.dump(ctx, now, full); err != nil {
		r.again = r.again || again
		if asked {
			r.full.Store(true)
		}
		return err
	}
	r.counters.looks.Add(1)
	r.counters.cycles.Add(1)
	if !full {
		return nil
	}
	r.counters.fullCycles.Add(1)
	r.fullPace.took(start, time.Now())
	r.generation = generation
	if expiring {
		r.policy.Expire(now)
		if r.policy.Generation() != generation {
			// Flows that relied on what was forgotten change now, not a
			// cycle later.
			r.hurry()
		}
	}
	return nil
}

// dump is both phases: it looks at each flow, then sends what is to change.
func (r *Revalidator) dump(ctx context.Context, now int64, full bool) error {
	start := time.Now()
	limits := r.limits.Load()
	count := int(r.budget.count.Load())
	r.maxIdle, r.idle = limits.maxIdle, r.limit.idle(count, limits.maxIdle)
	n := 0
	begin := func() {
		n, r.excess = 0, max(0, count-r.limit.current)
		r.pace.begin(now)
		r.sweep.Reset()
		r.changes = r.changes[:0]
		r.stuck.reset()
		clear(r.unused)
	}
	r.unused, r.unusedBefore = r.unusedBefore, r.unused
	begin()
	err := r.dp.Flows(!full, begin, func(f *dpif.Flow) error {
		n++
		r.look(f, now, full)
		return nil
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // what the sweep would do takes as long again, and can wait
	}
	r.adapt(n, time.Since(start))
	if r.sweep.Len() > 0 {
		err = r.dp.Transact(r.sweep, r.swept)
		if err != nil {
			err = fmt.Errorf("sweep of %d flows: %w", r.sweep.Len(), err)
		}
	}
	return errors.Join(err, r.deleteStuck(), r.settle())
}

// adapt adapts the flow limit to the time that a dump of n flows took.
func (r *Revalidator) adapt(n int, took time.Duration) {
	r.counters.lastDump.Store(int64(took))
	before := r.limit.current
	cause := r.limit.adapt(n, took, r.limits.Load().maxDump)
	r.budget.limit.Store(int64(r.limit.current))
	if e, say := r.limit.report(before, cause, time.Now()); say {
		r.notify(e)
	}
}

// swept takes the answer to one request of the sweep.
func (r *Revalidator) swept(i int, last *dpif.Flow, err error) {
	kind := r.changes[i]
	// ENOENT: the flow went by itself, with its port say.
	if err != nil && !errors.Is(err, unix.ENOENT) {
		r.counters.failed.Add(1)
		if kind == changeModify {
			r.stuck.refused(err)
		} else {
			r.again = true
		}
		return
	}
	if kind == changeModify {
		r.stuck.taken()
	}
	switch kind {
	case changeExpire:
		r.counters.expired.Add(1)
	case changeDelete:
		r.counters.deleted.Add(1)
	case changeModify:
		r.counters.corrected.Add(1)
		return
	}
	// What a terse dump did not show, and what came after the dump.
	if last != nil && last.Key != nil && last.UsedMS != 0 {
		r.policy.Observe(last.Key, last.UsedMS)
	}
}

// rest is settle for a cycle without a dump. As long as no flow was put since the
// last time, it asks the kernel now and then only, for flows that others put.
func (r *Revalidator) rest() error {
	r.rested++
	if r.rested < restCycles && !r.overLimit && r.budget.count.Load() == r.counters.flows.Load() && !r.budget.refused.Load() {
		return nil
	}
	return r.settle()
}

// settle corrects the handlers' count of flows by the kernel's, and says when
// the limit is reached or left.
func (r *Revalidator) settle() error {
	r.rested = 0
	var flows int
	err := r.budget.settle(func() (int64, error) {
		info, err := r.dp.Info()
		flows = int(info.Stats.Flows)
		if int64(flows) > r.budget.count.Load() {
			r.pace.guess() // somebody else has added flows
		}
		return int64(flows), err
	})
	if err != nil {
		return err
	}
	r.counters.flows.Store(int64(flows))
	limit := int(r.budget.limit.Load())
	// A sweep may have made room by now for what was refused before.
	if over := r.budget.refused.Swap(false) || flows >= limit; over != r.overLimit {
		r.overLimit = over
		if over {
			// Flows on their way to the kernel have their places too.
			flows = max(flows, min(int(r.budget.count.Load()), limit))
			r.notify(FlowLimitReached{Flows: flows, Limit: limit})
		} else {
			r.notify(FlowLimitCleared{Flows: flows, Limit: limit})
		}
	}
	return nil
}

// look decides what becomes of one flow.
func (r *Revalidator) look(f *dpif.Flow, now int64, full bool) {
	if r.statics.owns(f) {
		return
	}
	used := f.UsedMS
	if used == 0 {
		used = r.madeMS(f, now)
	}
	r.pace.saw(used)
	idle := time.Duration(now-used) * time.Millisecond
	switch {
	case idle > r.maxIdle:
		r.excess--
		r.delete(f, changeExpire, "idle", idle)
		return
	case r.excess > 0 && (r.idle == 0 || idle > r.idle):
		// As many as it takes: a limit is cut in large steps, for one dump that
		// was slow.
		r.excess--
		r.delete(f, changeExpire, "over_the_limit", idle)
		return
	}
	if !full || f.Key == nil {
		return
	}
	if f.UsedMS != 0 {
		r.policy.Observe(f.Key, f.UsedMS)
	}
	r.redecide(f, idle)
}

// madeMS returns when a flow that no packet has matched came into being, as far as
// that can be told.
func (r *Revalidator) madeMS(f *dpif.Flow, now int64) int64 {
	if made, ok := f.UFID.DecidedMS(); ok && f.HasUFID {
		return made
	}
	id := f.UFID
	if !f.HasUFID {
		id = dpif.NewUFID(r.hasher.HashMasked(f.Key, f.Key), 0)
	}
	first, seen := r.unusedBefore[id]
	if !seen {
		first = now - revalidatorCycle.Milliseconds()
	}
	r.unused[id] = first
	r.pace.guess()
	return first
}

func (r *Revalidator) redecide(f *dpif.Flow, idle time.Duration) {
	v := &r.verdict
	v.Clear()
	keep := r.policy.Redecide(f.Key, v)
	reason := v.Reason
	if keep && v.Install {
		covers, err := r.covers(f.Mask, v.Mask.Bytes())
		switch {
		case err != nil:
			reason = "mask_unreadable"
		case !covers:
			reason = "mask_too_wide"
		case bytes.Equal(f.Actions, v.Actions.Bytes()):
			return
		case r.modify(f):
			r.traced("modify", reason, f, idle)
			return
		default:
			reason = reasonTooLong
			r.stuck.tooLong(v.Actions.Len())
		}
	}
	r.delete(f, changeDelete, reason, idle)
}

// covers is odp.MaskCovers. Most flows have the masks of the one before.
func (r *Revalidator) covers(have, need []byte) (bool, error) {
	if bytes.Equal(have, r.covering) && bytes.Equal(need, r.covered) {
		return true, nil
	}
	ok, err := odp.MaskCovers(have, need)
	if ok && err == nil {
		r.covering, r.covered = append(r.covering[:0], have...), append(r.covered[:0], need...)
	}
	return ok, err
}

// modify gives f the verdict's actions. A flow with a UFID is found by that,
// and key and mask are only what its actions are checked against; so they are
// made anew of what all flows have: the kernel refuses (EINVAL) its own dumped
// key where that shows a wildcarded EtherType, as 0. It reports false if the flow does not
// fit a message.
func (r *Revalidator) modify(f *dpif.Flow) (fits bool) {
	changed := *f
	changed.Actions = r.verdict.Actions.Bytes()
	var k odp.Key
	if f.HasUFID && odp.ParseKey(f.Key, &k) == nil {
		r.key.Clear()
		odp.AppendInPort(&r.key, k.InPort)
		odp.AppendEthernet(&r.key, k.EthSrc, k.EthDst)
		r.mask.Clear()
		odp.AppendInPortMask(&r.mask)
		changed.Key, changed.Mask = r.key.Bytes(), r.mask.Bytes()
	}
	if !r.sweep.PutFlow(&changed, dpif.Modify) {
		return false
	}
	r.changes = append(r.changes, changeModify)
	r.stuck.asked(f)
	return true
}

func (r *Revalidator) delete(f *dpif.Flow, kind change, reason string, idle time.Duration) {
	r.sweep.DeleteFlow(f)
	r.changes = append(r.changes, kind)
	r.traced("delete", reason, f, idle)
}

func (r *Revalidator) traced(op, reason string, f *dpif.Flow, idle time.Duration) {
	if t := r.trace.Load(); t != nil {
		(*t)(op, reason, f, idle)
	}
}
