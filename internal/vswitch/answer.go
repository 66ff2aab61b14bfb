package vswitch

import (
	"errors"
	"slices"
	"time"

	"dpifd/internal/clock"
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"

	"golang.org/x/sys/unix"
)

// answer decides on the batch, sends all requests in one call, and gives the
// batch's memory back.
func (h *Handler) answer() {
	if h.in.Len() == 0 {
		h.in.Release() // frames that held nothing go back all the same
		return
	}
	h.begin()
	start := clock.Now()
	now := start.Milliseconds()
	trace := h.trace.Load()
	for i := range h.in.Len() {
		h.decide(h.owner[i], h.in.Data(i), now, trace)
	}
	if err := h.send(); err != nil {
		h.sendErrors.Add(1)
	}
	h.batches.Add(1)
	h.took(clock.Now() - start)
	h.in.Release()
}

// took counts the time that one batch kept its upcalls. The clock is read twice
// a batch, not for each upcall.
func (h *Handler) took(d time.Duration) {
	h.batchTime.Add(int64(d))
	if int64(d) > h.longest.Load() {
		h.longest.Store(int64(d))
	}
}

// begin starts a batch of requests.
func (h *Handler) begin() {
	h.out.Reset()
	h.ops, h.nPut, h.putBits = h.ops[:0], 0, [4]uint64{}
}

// send sends the batch of requests in one call.
func (h *Handler) send() error {
	if h.out.Len() == 0 {
		return nil
	}
	err := h.dp.Send(h.out, h.failed)
	h.budget.Sent(h.nPut)
	if h.sends == netlink.Ring && h.dp.Conn().Transport() != netlink.Ring {
		h.sends = netlink.Linear
		h.notify(TXRingGivenUp{Handler: h.id, Err: h.dp.Conn().RingError()})
	}
	return err
}

// started tells how the handler sends, and why.
func (h *Handler) started() HandlerStarted {
	why := "the kernel has rings"
	if h.sends != netlink.Ring {
		denied := h.denied
		if denied == nil {
			denied = h.dp.Conn().RingError()
		}
		why = reason(denied)
	}
	return HandlerStarted{Handler: h.id, Transport: h.sends, Reason: why}
}

func (h *Handler) decide(ch *channel, datagram []byte, now int64, trace *Tracer) {
	// The port of a shared socket's upcall is in the message.
	shared := ch == h.shared
	if !shared && !ch.limit.admit(now) {
		ch.shed.Add(1)
		return
	}
	u, v := &h.upcall, &h.verdict
	switch err := h.dp.ParseUpcall(datagram, u); {
	case err == nil:
	case errors.Is(err, dpif.ErrForeign):
		ch.foreign.Add(1)
		return
	default:
		ch.decodeErrors.Add(1)
		return
	}
	if shared {
		if ch = h.portOf(u.InPort); !ch.admitShared(now) {
			ch.shed.Add(1)
			return
		}
	}
	ch.upcalls.Add(1)
	ch.bytes.Add(uint64(len(u.Packet)))
	if u.Kind == dpif.Action {
		// No flow of ours has a userspace action. A flow left by another
		// program is corrected when the revalidator sees it.
		ch.actionUpcalls.Add(1)
		return
	}
	v.Clear()
	h.policy.Decide(u, now, v)
	if v.Actions.Err() != nil || v.Mask.Err() != nil {
		ch.policyErrors.Add(1)
		return
	}
	if trace != nil {
		(*trace)(ch.name.get(), u, v)
	}
	if v.Install && v.HasPeer && h.primer != nil {
		h.prime(ch, u, v, now)
	}
	switch {
	case v.Actions.Len() == 0:
		ch.dropped.Add(1)
	case h.execute(ch, u, v.Actions.Bytes()):
		ch.executed.Add(1)
	default:
		ch.policyErrors.Add(1)
	}
	if v.Install {
		key := u.Key
		if h.l2Key.Of(u.Fields(), v.Mask.Bytes()) {
			key = h.l2Key[:]
		}
		h.install(ch, dpif.NewUFID(h.hasher.HashTable(u.Fields(), v.Mask.Bytes()), now), key, v)
	}
}

// execute adds requests that run the actions on the packet: several where they are
// too long for one. It reports false if they cannot be divided, or the packet does not
// fit a message.
func (h *Handler) execute(ch *channel, u *dpif.Upcall, actions []byte) bool {
	if len(actions) <= odp.MaxActions {
		return h.executePart(ch, u, actions)
	}
	return odp.SplitActions(actions, odp.MaxActions, func(part []byte) bool { return h.executePart(ch, u, part) })
}

func (h *Handler) executePart(ch *channel, u *dpif.Upcall, actions []byte) bool {
	if !h.out.Execute(u, actions) {
		return false
	}
	h.ops = append(h.ops, request{ch, requestExecute})
	return true
}

// install adds a request for the verdict's flow, unless this batch has one
// already or the table is full. It reports whether it did.
func (h *Handler) install(ch *channel, id dpif.UFID, key []byte, v *policy.Verdict) bool {
	// A bit tells most flows that the batch has not from those that it has.
	hash := id.Hash()
	word, bit := &h.putBits[hash>>6&3], uint64(1)<<(hash&63)
	if *word&bit != 0 && slices.Contains(h.put[:h.nPut], hash) {
		return false
	}
	if !h.budget.Reserve() {
		ch.flowsOverLimit.Add(1)
		return false
	}
	if !h.out.CreateFlow(&id, key, v.Mask.Bytes(), v.Actions.Bytes()) {
		h.budget.Release()
		h.budget.Sent(1)
		ch.flowsPut.Add(1)
		ch.flowsRefused.Add(1)
		h.lastRefusal.Store(int32(unix.EMSGSIZE))
		return false
	}
	*word |= bit
	h.put[h.nPut] = hash
	h.nPut++
	h.ops = append(h.ops, request{ch, requestFlow})
	ch.flowsPut.Add(1)
	return true
}

func (h *Handler) requestFailed(i int, errno unix.Errno) {
	if i >= len(h.ops) {
		return
	}
	switch r := h.ops[i]; r.kind {
	case requestExecute:
		r.ch.executeRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	case requestFlow:
		h.budget.Release()
		if errno == unix.EEXIST {
			r.ch.flowsExisting.Add(1)
			return
		}
		r.ch.flowsRefused.Add(1)
		h.lastRefusal.Store(int32(errno))
	}
}
