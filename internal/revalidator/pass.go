package revalidator

import (
	"bytes"
	"context"
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// pass is the state of a dump of all flows, and of the sweep after it.
type pass struct {
	maxIdle time.Duration // of the current dump
	idle    time.Duration // idle time allowed while flows exceed the limit, 0 is none
	excess  int           // number of flows above the limit

	// A flow without packets has no time of use. If its UFID does not contain its creation
	// time, the time of the cycle before the dump that first showed it is used.
	unused, unusedBefore map[dpif.UFID]int64

	hasDrop   bool // as in Config
	sweep     *dpif.Batch
	changes   []change // change of each request of sweep
	stuck     stuckFlows
	spoofed   spoofed
	verdict   policy.Verdict
	key, mask netlink.Encoder
	covering  []byte // a mask that covers the next one
	covered   []byte
}

// unusedPrimed is the divisor of the idle time after which a primed flow without packets is
// deleted: answers arrive soon or not at all.
const unusedPrimed = 4

// change is what a request of the sweep does to a flow.
type change uint8

const (
	changeExpire change = iota // delete it as idle
	changeDelete               // delete it because it is stale
	changeModify               // change its actions
)

// flowsPerRound is the number of flows of a dump that count as a round: a long dump that makes
// progress must not look like a stuck goroutine.
const flowsPerRound = 1024

// dump runs both phases: it checks each flow, then sends the changes.
func (r *Revalidator) dump(ctx context.Context, now int64, full bool) error {
	start := time.Now()
	limits := r.limits.Load()
	count := int(r.budget.count.Load())
	r.maxIdle, r.idle = limits.MaxIdle, r.limit.idle(count, limits.MaxIdle)
	n := 0
	begin := func() {
		n, r.excess = 0, max(0, count-r.limit.current)
		r.pace.begin(now)
		r.sweep.Reset()
		r.changes = r.changes[:0]
		r.stuck.reset()
		r.spoofed.begin(r.budget)
		clear(r.unused)
	}
	r.unused, r.unusedBefore = r.unusedBefore, r.unused
	begin()
	err := r.dp.Flows(!full, begin, func(f *dpif.Flow) error {
		if n++; n%flowsPerRound == 0 {
			r.counters.rounds.Add(1)
		}
		r.look(f, now, full)
		return nil
	})
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err // the sweep would take as long again, and can wait
	}
	r.adapt(n, time.Since(start))
	r.balanceStages(n, full)
	credited := r.spoofed.finish(r.dp, start)
	if r.sweep.Len() > 0 {
		err = r.dp.Transact(r.sweep, r.swept)
		if err != nil {
			err = fmt.Errorf("sweep of %d flows: %w", r.sweep.Len(), err)
		}
	}
	return errors.Join(credited, err, r.deleteStuck(), r.recount())
}

// adapt adapts the flow limit to the time that a dump of n flows took.
func (r *Revalidator) adapt(n int, took time.Duration) {
	r.counters.lastDump.Store(int64(took))
	before := r.limit.current
	cause := r.limit.adapt(n, took, r.limits.Load().MaxDump)
	r.budget.limit.Store(int64(r.limit.current))
	if e, due := r.limit.report(before, cause, time.Now()); due {
		r.notify(e)
	}
}

// swept handles the answer to one request of the sweep.
func (r *Revalidator) swept(i int, last *dpif.Flow, err error) {
	if i%flowsPerRound == flowsPerRound-1 {
		r.counters.rounds.Add(1)
	}
	kind := r.changes[i]
	// ENOENT: the flow was deleted otherwise, for example with its port.
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
	// Data that a terse dump did not show, and packets after the dump.
	if last != nil && last.Key != nil && last.UsedMS != 0 {
		r.policy.Observe(last.Key, last.UsedMS)
		r.spoofed.ended(last)
	}
}

// look decides what to do with one flow.
func (r *Revalidator) look(f *dpif.Flow, now int64, full bool) {
	if r.statics.owns(f) {
		return
	}
	r.spoofed.saw(f)
	used := f.UsedMS
	if used == 0 {
		used = r.madeMS(f, now)
	}
	maxIdle := r.maxIdle
	if f.UsedMS == 0 && f.HasUFID && f.UFID.Primed() {
		maxIdle /= unusedPrimed
	}
	r.pace.saw(used - (r.maxIdle - maxIdle).Milliseconds())
	idle := time.Duration(now-used) * time.Millisecond
	switch {
	case idle > maxIdle:
		r.excess--
		r.delete(f, changeExpire, "idle", idle)
		return
	case r.excess > 0 && (r.idle == 0 || idle > r.idle):
		// Only as many as exceed the limit: one slow dump cuts the limit in large steps.
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

// madeMS returns the creation time of a flow without packets, as far as it is known.
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
		first = now - cycleTime.Milliseconds()
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
		case f.HasUFID && f.UFID.Spoofed() != v.Spoofed:
			// Its UFID tells how its packets count.
		case bytes.Equal(f.Actions, v.FlowActions(r.hasDrop)):
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

// covers is odp.MaskCovers with the last result cached, because most flows have the masks of
// the previous one.
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

// modify gives f the verdict's actions. The kernel finds a flow with a UFID by that, and uses
// key and mask only to check the actions. modify therefore builds them from the attributes that
// all flows have: the kernel refuses (EINVAL) its own dumped key if that contains a wildcarded
// EtherType, as 0. It returns false if the flow does not fit in a message.
func (r *Revalidator) modify(f *dpif.Flow) (fits bool) {
	changed := *f
	changed.Actions = r.verdict.FlowActions(r.hasDrop)
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
