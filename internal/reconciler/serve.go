package reconciler

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/transport"
	"dpifd/internal/upcall"
)

// portBatch is the number of ports per batch: requests about them share system calls, and each
// handler takes all its ports of a batch at once.
const portBatch = 64

// batchSize is portBatch, or 1 if sockets may have rings: a ring for a port that turns out not
// to exist would be missing for the next port of the batch.
func (r *Reconciler) batchSize() int {
	if r.sockets.HasRings() && r.sockets.Shared() == nil {
		return 1
	}
	return portBatch
}

// serve makes sure that each vport of the datapath has an upcall socket, and that the kernel
// sends its upcalls there. The only error it returns is transport.ErrRingRequired.
func (r *Reconciler) serve(vports []dpif.Vport, look Look, diff *Diff) error {
	var others []dpif.Vport
	ports := r.table.Load()
	for _, v := range vports {
		r.progress()
		if p := ports.Get(v.No); p != nil {
			r.checkPIDs(p, v, look)
			continue
		}
		others = append(others, v)
	}
	r.sortForRings(others)
	for batch := range slices.Chunk(others, r.batchSize()) {
		r.progress()
		if err := r.serveBatch(batch, look, diff); err != nil {
			return err
		}
	}
	return nil
}

// sortForRings sorts vports into the order in which they get rings while the memory limit has
// room: those in the configuration file in its order, then the others by number.
func (r *Reconciler) sortForRings(vports []dpif.Vport) {
	place := make(map[string]int, len(r.configured))
	for i, p := range r.configured {
		place[p.Name] = i - len(r.configured)
	}
	slices.SortStableFunc(vports, func(a, b dpif.Vport) int {
		return cmp.Or(cmp.Compare(place[r.bound.Entry(a.No)], place[r.bound.Entry(b.No)]), cmp.Compare(a.No, b.No))
	})
}

// serveBatch opens or adopts a socket for each of the vports, and directs the vports' upcalls
// to it. The only error it returns is transport.ErrRingRequired.
func (r *Reconciler) serveBatch(vports []dpif.Vport, look Look, diff *Diff) error {
	var ports, opened []*Port
	for _, v := range vports {
		p := r.newPort(v.No, v.Name, v.Type)
		p.ifindex = v.Ifindex
		if p.Socket = r.sockets.Adopt(p.Port, v.UpcallPIDs); p.Socket != nil {
			ports = append(ports, p) // its upcalls arrive here already
			continue
		}
		var err error
		if p.Socket, err = r.sockets.Open(p.Port, !look.Start); errors.Is(err, transport.ErrRingRequired) {
			r.sockets.Discard(socketsOf(ports)...)
			return err
		}
		if err != nil {
			r.cannotServe(p.Port, err)
			continue
		}
		ports = append(ports, p)
		if p.Socket != nil {
			opened = append(opened, p)
		}
	}
	failed := r.sockets.Attach(socketsOf(ports))
	// Owned by a handler before the first upcall can arrive.
	for sock, err := range r.setUpcallPIDs(withoutFailed(opened, failed)) {
		r.sockets.Detach(sock)
		failed[sock] = err
	}
	for sock, err := range failed {
		r.cannotServe(sock.Port(), err)
	}
	r.enter(withoutFailed(ports, failed), false, look, diff)
	return nil
}

// setUpcallPIDs makes the kernel send the upcalls of vports to their sockets. It returns the
// sockets for which the kernel refused.
func (r *Reconciler) setUpcallPIDs(list []*Port) (refused map[*transport.Socket]error) {
	ports, pids := make([]odp.PortNo, len(list)), make([]uint32, len(list))
	for i, p := range list {
		ports[i], pids[i] = p.No, p.Socket.PortID()
	}
	refused = map[*transport.Socket]error{}
	// The function also receives a fault of the socket.
	_ = r.kernel.SetUpcallPIDs(ports, pids, func(i int, err error) {
		if err != nil {
			refused[list[i].Socket] = err
		}
	})
	return refused
}

func (r *Reconciler) newPort(no odp.PortNo, name string, t dpif.VportType) *Port {
	return &Port{Port: upcall.NewPort(no, name, r.maxUpcalls[name]), Type: t}
}

func withoutFailed(ports []*Port, failed map[*transport.Socket]error) []*Port {
	return slices.DeleteFunc(ports, func(p *Port) bool { return failed[p.Socket] != nil })
}

// cannotServe reports why a vport of the datapath is not served, once for each reason.
func (r *Reconciler) cannotServe(p *upcall.Port, err error) {
	if !dpif.IsGone(err) && r.failed[p.No] != err.Error() {
		r.failed[p.No] = err.Error()
		r.notify(PortFailed{No: p.No, Name: p.Name(), Err: err})
	}
}

// checkPIDs restores the upcall PID of a vport that another program has changed.
func (r *Reconciler) checkPIDs(p *Port, v dpif.Vport, look Look) {
	if p.Socket == nil {
		return // the kernel ignores them
	}
	pid := p.Socket.PortID()
	if len(v.UpcallPIDs) == 1 && v.UpcallPIDs[0] == pid {
		return
	}
	if !look.Start && !r.restores.Allow() {
		return
	}
	if err := r.kernel.SetUpcallPID(v.No, pid); err != nil {
		if !dpif.IsGone(err) {
			r.notify(PortFailed{No: v.No, Name: v.Name, Err: err})
		}
		return
	}
	r.restores.pids.Add(1)
	if held, due := r.restores.EventDue(v.No, time.Now()); due {
		r.notify(UpcallPIDRestored{No: v.No, Name: v.Name, Found: v.UpcallPIDs, PID: pid, HeldBack: held})
	}
}

// enter adds ports that handlers serve to the table.
func (r *Reconciler) enter(ports []*Port, created bool, look Look, diff *Diff) {
	for _, p := range ports {
		if created || !look.Start || r.bound.Replaced(p.No) {
			p.sinceMS = sinceNow()
		}
		if p.ifindex != 0 {
			r.byIfindex[p.ifindex] = p
		}
		delete(r.failed, p.No)
	}
	r.table.add(ports...)
	r.updateHandlers()
	for _, p := range ports {
		if p.Socket != nil {
			r.sockets.Keep(p.Socket)
		}
		diff.Added = append(diff.Added, Added{p, created})
	}
}
