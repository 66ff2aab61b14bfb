package reconciler

import (
	"iter"
	"slices"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/event"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
	"dpifd/internal/upcall"
)

// Look holds the reasons for a look at the datapath.
type Look struct {
	Start   bool // it is the first look
	Changed bool // something has changed: retry waiting ports regardless of back-off
}

// Diff holds the changes by one part of a look. It is valid even with an error.
type Diff struct {
	Removed []PortRemoved
	Renamed []PortRenamed
	Waiting []PortWaiting
	Added   []Added
	Ports   []policy.Port // ports for the policy; unset after an error
}

// Added is a port whose service has begun.
type Added struct {
	*Port
	Created bool // the vport was attached
}

// Events returns the events about the changes in the Diff.
func (d *Diff) Events() iter.Seq[event.Event] {
	return func(yield func(event.Event) bool) {
		ok := true
		emit := func(e event.Event) { ok = ok && yield(e) }
		for _, e := range d.Removed {
			emit(e)
		}
		for _, e := range d.Renamed {
			emit(e)
		}
		for _, e := range d.Waiting {
			emit(e)
		}
		for _, a := range d.Added {
			sock := a.Socket
			emit(PortAdded{Name: a.Name(), No: a.No, Type: a.Type, Handler: sock.HandlerID(), UpcallPID: sock.PortID(),
				Created: a.Created})
			if sock != nil {
				emit(TransportSelected{Name: a.Name(), No: a.No, Transport: sock.Transport(), Reason: sock.Reason,
					RcvBuf: sock.RcvBuf(), RingBytes: sock.RingBytes})
			}
		}
	}
}

// Remove ends the service of vports that are gone, or whose number another device has now. It
// also removes devices of ports that are no longer configured.
func (r *Reconciler) Remove(look Look) (diff Diff, err error) {
	r.sweepDevices()
	vports, err := r.vports()
	if err != nil {
		return diff, err
	}
	r.listed = vports
	r.dropMissing(vports, &diff)
	if len(diff.Removed) > 0 {
		served := r.table.Load()
		notServed := func(v dpif.Vport) bool { return served.Get(v.No) == nil }
		diff.Ports = r.policyPorts(slices.DeleteFunc(slices.Clone(vports), notServed), look)
	}
	return diff, nil
}

// Quarantine prevents that new ports get the numbers of removed ports while flows may lead
// there. The policy must no longer know the removed ports, and all earlier decisions must be in
// the kernel.
func (r *Reconciler) Quarantine(removed []PortRemoved) {
	numbers := make([]odp.PortNo, len(removed))
	for i, p := range removed {
		numbers[i] = p.No
	}
	r.quarantine.add(numbers)
}

// Add serves each vport that Remove found, and attaches the configured ports that the datapath
// lacks. It returns transport.ErrRingRequired, or an error about the datapath or about the
// request socket.
func (r *Reconciler) Add(look Look) (diff Diff, err error) {
	vports := r.listed
	r.bind(vports)
	if err := r.serve(vports, look, &diff); err != nil {
		return diff, err
	}
	added, err := r.attachConfigured(vports, look, &diff)
	if err != nil {
		return diff, err
	}
	for _, p := range r.table.Load().List {
		p.SetMaxUpcalls(r.maxUpcalls[r.bound.Entry(p.No)])
	}
	diff.Ports = r.policyPorts(append(vports, added...), look)
	return diff, nil
}

// dropMissing ends the service of vports that no longer exist. A device that was renamed is the
// same port.
func (r *Reconciler) dropMissing(vports []dpif.Vport, diff *Diff) {
	has := byNo(vports)
	for _, p := range r.table.Load().List {
		v := has[p.No]
		if v != nil && p.isOf(*v) {
			r.follow(p, *v, diff)
			continue
		}
		if len(diff.Removed) == 0 {
			r.sockets.ReadDrops(r.table.Load().Sockets()) // while they are there
		}
		r.drop(p, diff)
	}
	for no := range r.failed {
		if has[no] == nil {
			delete(r.failed, no)
		}
	}
}

// isOf reports whether p serves this vport, and not an earlier one with the same number. It
// compares the device's index, or its name if the index is not known. An internal port that
// moves to another network namespace may get another index there; its upcalls still go to the
// same socket.
func (p *Port) isOf(v dpif.Vport) bool {
	if v.No != p.No || v.Type != p.Type {
		return false
	}
	if v.Ifindex == p.ifindex {
		return v.Ifindex != 0 || v.Name == p.Name()
	}
	return v.Type == dpif.VportInternal && p.Socket != nil && slices.Equal(v.UpcallPIDs, []uint32{p.Socket.PortID()})
}

// follow records the current name and index of a port's device.
func (r *Reconciler) follow(p *Port, v dpif.Vport, diff *Diff) {
	if p.ifindex != v.Ifindex {
		if r.byIfindex[p.ifindex] == p {
			delete(r.byIfindex, p.ifindex)
		}
		p.ifindex = v.Ifindex
		r.byIfindex[p.ifindex] = p
	}
	if was := p.Name(); was != v.Name {
		p.SetName(v.Name)
		diff.Renamed = append(diff.Renamed, PortRenamed{No: p.No, Name: v.Name, Was: was})
	}
}

// drop answers the upcalls that are still queued for a port, and closes its socket.
func (r *Reconciler) drop(p *Port, diff *Diff) {
	var last upcall.PortCounters
	if p.Socket != nil {
		last = r.sockets.Detach(p.Socket)
	} else {
		last = p.Counters()
	}
	if r.byIfindex[p.ifindex] == p {
		delete(r.byIfindex, p.ifindex)
	}
	r.table.remove(p, last)
	r.updateHandlers()
	r.bound.Forget(p.No)
	diff.Removed = append(diff.Removed, PortRemoved{Name: p.Name(), No: p.No, Upcalls: last.Upcalls,
		Executed: last.Executed, Lost: last.Lost()})
}

// updateHandlers gives the current ports to handlers whose sockets serve all ports.
func (r *Reconciler) updateHandlers() {
	if r.sockets.Shared() != nil {
		r.handlers.Set(r.table.Load().upcallPorts())
	}
}

// ConcernedByLink reports whether a message about a device requires a look: a configured port
// waits for the device to appear or disappear; a pattern matches it; the device of a port has
// another name; or the device of an internal port has moved to another network namespace, which
// the multicast groups of openvswitch do not report.
func (r *Reconciler) ConcernedByLink(ifindex uint32, name string, deleted bool) bool {
	_, waits := r.waiting[name]
	p := r.byIfindex[ifindex]
	if p == nil {
		return waits || r.matches(name) != nil
	}
	return waits || deleted || p.Name() != name
}

// flowTickMS limits how much later a flow's time of use may be than the packet: the kernel
// stores the time in ticks (ovs_flow_used_time, net/openvswitch/flow_netlink.c, Linux 6.1), and
// a second has at least 100 ticks.
const flowTickMS = 10

// sinceNow is policy.Port.SinceMS for a port that has just been found.
func sinceNow() int64 { return clock.NowMS() + flowTickMS }

// NextRetry is the time (see internal/clock) of the next attempt to attach a waiting port, but
// not after latest.
func (r *Reconciler) NextRetry(latest time.Duration) time.Duration {
	for _, w := range r.waiting {
		latest = min(latest, w.retry.At)
	}
	return latest
}
