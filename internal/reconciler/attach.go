package reconciler

import (
	"errors"
	"slices"
	"time"

	"dpifd/internal/backoff"
	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/transport"
)

// waiting is the state of a configured port that cannot be attached at present.
type waiting struct {
	reason string // as reported
	retry  backoff.Backoff
}

// due reports whether the Reconciler must now try to attach a configured port that is not
// attached.
func (r *Reconciler) due(name string, look Look, now time.Duration) bool {
	return look.Changed || r.waiting[name].retry.Due(now)
}

// attachConfigured attaches the configured ports that the datapath lacks.
func (r *Reconciler) attachConfigured(vports []dpif.Vport, look Look, diff *Diff) (added []dpif.Vport, err error) {
	has := byNo(vports)
	now := clock.Now()
	var lacking []PortConfig
	for _, p := range r.configured {
		if no, bound := r.bound.Number(p.Name); bound && has[no] != nil {
			r.attached(p, has[no], false)
			continue
		}
		r.devices.forget(p.Name)
		if r.due(p.Name, look, now) {
			lacking = append(lacking, p)
		}
	}
	if len(lacking) == 0 {
		return nil, nil
	}
	free := r.quarantine.free(vports, r.table.Load().Numbers())
	for batch := range slices.Chunk(lacking, r.batchSize()) {
		r.progress()
		made, err := r.attachBatch(batch, free, look, diff)
		added = append(added, made...)
		if err != nil {
			return added, err
		}
	}
	return added, nil
}

// attached records that a configured port is in the datapath.
func (r *Reconciler) attached(p PortConfig, v *dpif.Vport, created bool) {
	delete(r.waiting, p.Name)
	r.devices.pending = append(r.devices.pending, deviceSetup{p, *v, created})
}

// attachment is a configured port that is being attached.
type attachment struct {
	config PortConfig
	port   *Port
	vport  dpif.Vport
	err    error
}

// attachBatch attaches configured ports, and returns their vports.
func (r *Reconciler) attachBatch(ports []PortConfig, free *freeNumbers, look Look, diff *Diff) ([]dpif.Vport, error) {
	list := make([]*attachment, len(ports))
	var asked []*attachment
	var requests []dpif.NewVport
	for i, p := range ports {
		a := &attachment{config: p, port: r.newPort(0, p.Name, p.Type)}
		list[i] = a
		var name string
		if name, a.err = r.devices.prepare(p); a.err != nil {
			continue
		}
		if a.port.Socket, a.err = r.sockets.Open(a.port.Port, !look.Start); a.err != nil {
			if errors.Is(a.err, transport.ErrRingRequired) {
				for _, other := range asked {
					r.sockets.Discard(other.port.Socket)
				}
				return nil, a.err
			}
			continue
		}
		asked = append(asked, a)
		requests = append(requests, dpif.NewVport{Name: name, Type: p.Type, No: free.take(),
			UpcallPID: a.port.Socket.PortID()})
	}
	// Sockets exist before the vports, and their queues hold upcalls that arrive before a
	// handler owns them. The function also receives a fault of the request socket.
	_ = r.kernel.AddVports(requests, func(i int, v dpif.Vport, err error) {
		a := asked[i]
		a.vport, a.err, a.port.No, a.port.ifindex = v, err, v.No, v.Ifindex
	})
	var made []*Port
	for i, a := range asked {
		if a.err != nil {
			free.giveBack(requests[i].No)
			r.sockets.Discard(a.port.Socket)
			continue
		}
		made = append(made, a.port)
	}
	failed := r.sockets.Attach(socketsOf(made))
	for _, a := range asked {
		if err := failed[a.port.Socket]; err != nil {
			a.err = err
		}
	}
	r.enter(withoutFailed(made, failed), true, look, diff)
	return r.noteResults(list, diff)
}

// noteResults returns the ports that were attached, and records why others wait. It returns an
// error if the datapath is missing.
func (r *Reconciler) noteResults(list []*attachment, diff *Diff) (added []dpif.Vport, err error) {
	asked := false
	for _, a := range list {
		name := a.config.Name
		if a.err == nil {
			r.bound.Set(a.vport, name)
			added = append(added, a.vport)
			r.attached(a.config, &a.vport, true)
			continue
		}
		// ENODEV may be about the port's device or about the datapath.
		if !asked {
			if _, err = r.kernel.Info(); err != nil {
				return added, err
			}
			asked = true
		}
		w := r.waiting[name]
		if w.reason != a.err.Error() {
			w.reason = a.err.Error()
			diff.Waiting = append(diff.Waiting, PortWaiting{Name: name, Err: a.err})
		}
		w.retry = w.retry.Next(clock.Now())
		r.waiting[name] = w
	}
	return added, nil
}
