package upcall

import (
	"errors"
	"slices"

	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// answer decides on the batch, sends all requests in one call, and releases the batch.
func (h *Handler) answer() {
	if h.in.Len() == 0 {
		h.in.Release() // frames without messages must be released too
		return
	}
	h.begin()
	now := h.began.Milliseconds()
	trace := h.trace.Load()
	for i := range h.in.Len() {
		if !h.decide(h.owner[i], h.in.Data(i), now, trace) {
			h.oldest[i] = notAnswered
		}
	}
	if err := h.send(); err != nil {
		h.sendErrors.Add(1)
	}
	h.batches.Add(1)
	h.sent(h.in.Len())
	h.in.Release()
}

// begin starts a batch of requests.
func (h *Handler) begin() {
	h.out.Reset()
	h.ops, h.nPut, h.putBits, h.renewed = h.ops[:0], 0, [4]uint64{}, 0
}

// send sends the batch of requests in one call.
func (h *Handler) send() error {
	if h.out.Len() == 0 {
		return nil
	}
	// If the process is killed after this, the next one does not send these packets again.
	h.in.Mark()
	err := h.dp.Send(h.out, h.failed)
	h.budget.Sent(h.nPut)
	if h.sends == netlink.Ring && h.dp.Conn().Transport() != netlink.Ring {
		h.sends = netlink.Linear
		h.notify(TXRingGivenUp{Handler: h.id, Err: h.dp.Conn().RingError()})
	}
	return err
}

// decide adds the requests that answer an upcall. It reports whether the datagram was an upcall
// within its port's limit.
func (h *Handler) decide(s *Socket, datagram []byte, now int64, trace *Tracer) bool {
	p := s.port
	// The port of a shared socket's upcall is in the message.
	if !s.shared && !p.limit.admit(now) {
		p.shed.Add(1)
		return false
	}
	u, v := &h.upcall, &h.verdict
	switch err := h.dp.ParseUpcall(datagram, u); {
	case err == nil:
	case errors.Is(err, dpif.ErrForeign):
		p.foreign.Add(1)
		return false
	default:
		p.decodeErrors.Add(1)
		return false
	}
	if s.shared {
		if p = h.portOf(u.InPort); !p.admitShared(now) {
			p.shed.Add(1)
			return false
		}
	}
	p.upcalls.Add(1)
	p.bytes.Add(uint64(len(u.Packet)))
	if u.Kind == dpif.Action {
		// No flow of dpifd has a userspace action. The revalidator corrects a flow of another
		// program when it sees it.
		p.actionUpcalls.Add(1)
		return true
	}
	v.Clear()
	h.policy.Decide(u, now, v)
	if v.Actions.Err() != nil || v.Mask.Err() != nil {
		p.policyErrors.Add(1)
		return true
	}
	if trace != nil {
		(*trace)(p.Name(), u, v)
	}
	if v.Spoofed {
		p.spoofed.note(u, v)
	}
	oneFlow := v.Install && v.Stage == policy.OneStage
	isL2 := oneFlow && h.l2Key.Of(u.Fields(), v.Mask.Bytes())
	if isL2 && v.HasPeer && h.primer != nil {
		h.prime(p, v, now)
	}
	if v.Renew {
		h.renew(p, u)
	}
	switch {
	case v.Actions.Len() == 0:
		p.dropped.Add(1)
	case h.execute(p, u, v.Actions.Bytes()):
		p.executed.Add(1)
	default:
		p.policyErrors.Add(1)
	}
	switch {
	case oneFlow:
		key, id := h.identify(u, v, isL2, now)
		if h.install(p, id, key, v) && v.Spoofed {
			h.budget.PutSpoofed()
		}
	case v.Install:
		h.installStages(p, u, v, now)
	}
	return true
}

// identify returns the key and the UFID of the flow of an upcall. isL2 says that the key is
// h.l2Key.
func (h *Handler) identify(u *dpif.Upcall, v *policy.Verdict, isL2 bool, now int64) (key []byte, id dpif.UFID) {
	mask, hash := v.Mask.Bytes(), uint64(0)
	if isL2 {
		key, hash = h.l2Key[:], h.hasher.HashL2(&h.l2Key, mask)
	} else {
		key, hash = u.Key, h.hasher.HashTable(u.Fields(), mask)
	}
	if v.Spoofed {
		return key, dpif.NewSpoofedUFID(hash, now)
	}
	return key, dpif.NewUFID(hash, now)
}

// execute adds requests that run the actions on the packet: several if they are too long for
// one. It returns false if they cannot be divided, or if the packet does not fit in a message.
func (h *Handler) execute(p *Port, u *dpif.Upcall, actions []byte) bool {
	if len(actions) <= odp.MaxActions {
		return h.executePart(p, u, actions)
	}
	return odp.SplitActions(actions, odp.MaxActions, func(part []byte) bool { return h.executePart(p, u, part) })
}

func (h *Handler) executePart(p *Port, u *dpif.Upcall, actions []byte) bool {
	if !h.out.Execute(u, actions) {
		return false
	}
	h.ops = append(h.ops, request{p, requestExecute})
	return true
}

// install adds a request for the verdict's flow, unless this batch has one already or the flow
// limit is reached. It reports whether it did.
func (h *Handler) install(p *Port, id dpif.UFID, key []byte, v *policy.Verdict) bool {
	// A bit per hash excludes most flows that are not in the batch.
	hash := id.Hash()
	word, bit := &h.putBits[hash>>6&3], uint64(1)<<(hash&63)
	if *word&bit != 0 && slices.Contains(h.put[:h.nPut], hash) {
		return false
	}
	if !h.budget.Reserve() {
		p.flowsOverLimit.Add(1)
		return false
	}
	if !h.out.CreateFlow(&id, key, v.Mask.Bytes(), v.FlowActions(h.hasDrop)) {
		h.budget.Release()
		h.budget.Sent(1)
		p.flowsPut.Add(1)
		p.flowsRefused.Add(1)
		h.lastRefusal.Store(int32(unix.EMSGSIZE))
		return false
	}
	*word |= bit
	h.put[h.nPut] = hash
	h.nPut++
	h.ops = append(h.ops, request{p, requestFlow})
	p.flowsPut.Add(1)
	return true
}

func (h *Handler) requestFailed(i int, errno unix.Errno) {
	if i >= len(h.ops) {
		return
	}
	switch r := h.ops[i]; r.kind {
	case requestExecute:
		r.port.executeRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	case requestFlow:
		h.budget.Release()
		if errno == unix.EEXIST {
			r.port.flowsExisting.Add(1)
			return
		}
		r.port.flowsRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	case requestRenew:
		if errno == unix.ENOENT {
			return // no such flow is installed
		}
		r.port.flowsRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	}
}

// portOf returns the port on which upcalls from that number are counted: the port itself, or
// the socket's own if the number is not yet, or no longer, known.
func (h *Handler) portOf(no odp.PortNo) *Port {
	if p := h.table.get(no); p != nil {
		return p
	}
	return h.shared.port
}
