package revalidator

import (
	"context"
	"sync/atomic"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// cycleTime is the time from the start of one dump to the next (ofproto-dpif-upcall.c of Open
// vSwitch 3.x).
const cycleTime = 500 * time.Millisecond

// restCycles is the number of cycles after which the kernel is always asked for the number of
// flows.
const restCycles = 5

// Tracer is called for each flow that the revalidator changes, with its idle time: op is
// "delete" or "modify". It must not keep its arguments.
type Tracer func(op, reason string, f *dpif.Flow, idle time.Duration)

// Revalidator deletes idle flows and re-decides flows whose inputs changed. A cycle has two
// phases: Dump reads the kernel's flow table and collects requests, Sweep sends them. While the
// policy's generation does not change and no MAC is about to age, the dump is terse: the kernel
// sends only identifiers and statistics. A cycle skips a dump that would find nothing to do,
// see dumpPace.
type Revalidator struct {
	dp      *dpif.Datapath
	policy  policy.Policy
	budget  *Budget
	hasher  *odp.MaskedHasher
	notify  event.Sink
	trace   atomic.Pointer[Tracer]
	barrier func()
	limits  atomic.Pointer[Limits]
	limit   flowLimit
	statics *statics
	meters  *meters

	pass
	generation uint64      // of the policy at the last dump
	again      bool        // the next dump is full as well
	full       atomic.Bool // the next dump must be full, see RequestFullDump
	pace       dumpPace
	fullPace   fullPace
	overLimit  bool
	rested     int // cycles since recount
	kick       chan struct{}

	counters counters
}

// Limits limit the flows of a datapath. They may change at any time.
type Limits struct {
	MaxIdle time.Duration // flows unused for longer are deleted
	Flows   int           // maximum in the datapath; the current limit adapts below it
	MaxDump time.Duration // target time of a dump of all flows; the current limit adapts to it
}

// Defaults for zero fields of Limits.
const (
	DefaultMaxIdle   = 10 * time.Second
	DefaultFlowLimit = 200_000
	DefaultMaxDump   = time.Second
)

// withDefaults returns l with defaults for fields that are zero or less.
func (l Limits) withDefaults() Limits {
	if l.MaxIdle <= 0 {
		l.MaxIdle = DefaultMaxIdle
	}
	if l.Flows <= 0 {
		l.Flows = DefaultFlowLimit
	}
	if l.MaxDump <= 0 {
		l.MaxDump = DefaultMaxDump
	}
	return l
}

// Config configures a Revalidator.
type Config struct {
	// Datapath has a separate request socket, which Close closes.
	Datapath *dpif.Datapath
	Policy   policy.Policy
	Limits   Limits
	Budget   *Budget           // of the installers of flows
	Hasher   *odp.MaskedHasher // for the UFIDs of installed flows
	Notify   event.Sink
	// Barrier waits until all flows decided so far are in the kernel.
	Barrier func()
	// CreditSpoofed is called with the number of additional packets dropped by flows whose UFIDs
	// are Spoofed, by in-port.
	CreditSpoofed func(in odp.PortNo, packets uint64)
	// HasDrop: flows that drop have an action for it, see policy.Verdict.FlowActions.
	HasDrop bool
}

// New returns a revalidator that is not running.
func New(cfg Config) *Revalidator {
	limits := cfg.Limits.withDefaults()
	r := &Revalidator{
		dp: cfg.Datapath, policy: cfg.Policy, budget: cfg.Budget, hasher: cfg.Hasher,
		notify: cfg.Notify, barrier: cfg.Barrier,
		limit: newFlowLimit(limits.Flows), kick: make(chan struct{}, 1),
		statics: newStatics(cfg.Datapath, cfg.Policy, cfg.Notify),
	}
	r.meters = newMeters(cfg.Datapath, cfg.Policy, cfg.Notify, &r.counters.storm)
	r.pass = pass{hasDrop: cfg.HasDrop, sweep: cfg.Datapath.NewBatch(),
		unused: map[dpif.UFID]int64{}, unusedBefore: map[dpif.UFID]int64{},
		spoofed: newSpoofed(cfg.Datapath, cfg.CreditSpoofed)}
	r.limits.Store(&limits)
	r.budget.limit.Store(int64(r.limit.current))
	return r
}

// Close closes the request socket.
func (r *Revalidator) Close() { r.dp.Conn().Close() }

// SetLimits changes the limits; zero values select the defaults. It may be called
// by any goroutine.
func (r *Revalidator) SetLimits(l Limits) {
	l = l.withDefaults()
	r.limits.Store(&l)
	r.Wake()
}

// SetTracer installs t, which is called for each flow that the revalidator
// changes; nil removes it.
func (r *Revalidator) SetTracer(t Tracer) {
	if t == nil {
		r.trace.Store(nil)
		return
	}
	r.trace.Store(&t)
}

// Adopt lets the policy learn from the existing flows before the first upcall is served, and
// returns their number.
func (r *Revalidator) Adopt() (int, error) {
	n := 0
	begin := func() { n = 0; r.spoofed.begin(r.budget) }
	begin()
	err := r.dp.Flows(false, begin, func(f *dpif.Flow) error {
		n++
		r.spoofed.saw(f)
		r.counters.rounds.Add(1)
		if f.Key != nil && f.UsedMS != 0 {
			r.policy.Observe(f.Key, f.UsedMS)
		}
		return nil
	})
	r.spoofed.adopt()
	r.limit.adopt(n)
	r.budget.limit.Store(int64(r.limit.current))
	r.budget.count.Store(int64(n))
	if n > 0 && err == nil {
		r.notify(FlowsAdopted{Flows: n})
	}
	return n, err
}

// Run works until ctx ends. It calls gone when the datapath seems to be deleted.
func (r *Revalidator) Run(ctx context.Context, gone func()) {
	r.counters.running.Store(true)
	full := true // the first cycle corrects adopted flows
	tick := time.NewTicker(cycleTime)
	defer tick.Stop()
	defer r.meters.last()
	for {
		start := time.Now()
		if err := r.Cycle(ctx, full); err != nil {
			if ctx.Err() != nil {
				return
			}
			if dpif.IsGone(err) {
				gone()
			} else {
				r.notify(CycleFailed{Err: err, At: time.Since(start)})
			}
		}
		full = false
		r.counters.rounds.Add(1)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.kick:
		}
		if ctx.Err() != nil {
			return // select picks any of the ready cases
		}
	}
}

// Wake starts the next cycle at once. Any goroutine may call it.
func (r *Revalidator) Wake() {
	select {
	case r.kick <- struct{}{}:
	default: // a wake-up is pending
	}
}

// RequestFullDump starts the next cycle at once and makes it check all flows. Any goroutine may
// call it.
func (r *Revalidator) RequestFullDump() {
	r.full.Store(true)
	r.Wake()
}

// Cycle runs one cycle, which reads all flows with their keys if full. It ends between its
// phases when ctx ends. It takes over the policy's static flows before it checks flows, and
// installs them afterwards. If a static flow overlaps a flow that is about to be deleted, the
// next cycle starts soon and checks all flows again.
func (r *Revalidator) Cycle(ctx context.Context, full bool) error {
	r.statics.configured()
	r.meters.configured()
	if err := r.cycle(ctx, full); err != nil {
		return err
	}
	again, err := r.statics.keep()
	r.again = r.again || again
	return err
}

func (r *Revalidator) cycle(ctx context.Context, full bool) error {
	now := clock.NowMS()
	limits := r.limits.Load()
	if e, due := r.limit.setCap(limits.Flows, time.Now()); due {
		r.notify(e)
	}
	r.budget.limit.Store(int64(r.limit.current))
	generation := r.policy.Generation()
	changed := generation != r.generation
	expiring := r.policy.Expiring(now)
	// Checks that are deferred for lack of time stay due.
	urgent := full || changed || r.again || r.full.Load()
	full = urgent && r.fullPace.allows(time.Now(), urgentShare) || expiring && r.fullPace.allows(time.Now(), lazyShare)
	if !full && !r.spoofed.due(r.budget, time.Now()) &&
		!r.pace.due(now, limits.MaxIdle, int(r.budget.count.Load()), r.limit.current, limits.Flows) {
		r.looked()
		r.balanceStages(int(r.budget.count.Load()), false)
		return r.rest()
	}
	asked := full && r.full.Swap(false)
	if full {
		// A flow that was decided before the change could be installed after the dump has
		// passed its place.
		r.barrier()
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
	r.looked()
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
			// Flows that depended on removed MACs change now, not a cycle later.
			r.Wake()
		}
	}
	return nil
}

// looked counts a successful cycle, unless it deferred a requested full dump.
func (r *Revalidator) looked() {
	if !r.full.Load() {
		r.counters.looks.Add(1)
	}
}

// rest is recount for a cycle without a dump. If no flow was installed since the last time, it
// asks the kernel only now and then, for flows of other programs.
func (r *Revalidator) rest() error {
	r.rested++
	if r.rested < restCycles && !r.overLimit && r.budget.count.Load() == r.counters.flows.Load() &&
		!r.budget.refused.Load() {
		return nil
	}
	return r.recount()
}

// recount corrects the handlers' count of flows by the kernel's, and reports when the limit is
// reached or left.
func (r *Revalidator) recount() error {
	r.rested = 0
	var flows int
	err := r.budget.Recount(func() (int64, error) {
		info, err := r.dp.Info()
		flows = int(info.Stats.Flows)
		if int64(flows) > r.budget.count.Load() {
			r.pace.guess() // another program has added flows
		}
		return int64(flows), err
	})
	if err != nil {
		return err
	}
	r.counters.flows.Store(int64(flows))
	limit := int(r.budget.limit.Load())
	// A sweep may have made room since flows were refused.
	if over := r.budget.refused.Swap(false) || flows >= limit; over != r.overLimit {
		r.overLimit = over
		if over {
			// Flows in flight have places too.
			flows = max(flows, min(int(r.budget.count.Load()), limit))
			r.notify(FlowLimitReached{Flows: flows, Limit: limit})
		} else {
			r.notify(FlowLimitCleared{Flows: flows, Limit: limit})
		}
	}
	return nil
}
