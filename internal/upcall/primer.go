package upcall

import (
	"sync/atomic"
	"time"

	"dpifd/internal/dpif"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

const (
	primeSlots = 4096
	// A packet that waits for an answer is remembered for as long as its flow lives by
	// default.
	primeWait = 10 * time.Second
	// One of primeSample packets gets no flow for its answers, so that whether answers
	// come stays known.
	primeSample = 16
	// primeWindow bounds the number of packets that the share of answers is taken of.
	primeWindow = 64
	// primePrior is the number of packets without answer that are assumed at the start: as
	// many have to be answered first.
	primePrior = 8
)

// Primer tells for which packets the flow of their answers is to be put together with
// their own. It remembers the stations of some packets without such a flow: when the
// answer comes up, a flow would have spared an upcall. While half of these packets are
// answered, priming pays: an upcall costs more than twice what putting a flow does.
// All handlers share one primer, since an answer comes up at another port.
type Primer struct {
	recent            [primeSlots]atomic.Uint64 // by hash of the stations: more of the hash, and the time
	sampled, answered atomic.Uint32             // of the window
	turn              atomic.Uint32
}

// NewPrimer returns a primer that has seen no packet.
func NewPrimer() *Primer {
	p := &Primer{}
	p.sampled.Store(primePrior)
	return p
}

// wants reports whether to put the flow of the answers to a packet from src to dst that
// came up at nowMS. It does not for a packet that is itself the answer to one that came
// up: that one's flow is there.
func (p *Primer) wants(src, dst odp.MAC, nowMS int64) bool {
	if p.isAnswer(src, dst, nowMS) {
		return false
	}
	if p.pays() && p.turn.Add(1)%primeSample != 0 {
		return true
	}
	slot, tag := primeHash(src, dst)
	p.recent[slot].Store(uint64(tag)<<32 | uint64(uint32(nowMS)))
	p.count(&p.sampled)
	return false
}

// isAnswer reports whether a packet from dst to src came up lately and was given no flow
// for its answers.
func (p *Primer) isAnswer(src, dst odp.MAC, nowMS int64) bool {
	slot, tag := primeHash(dst, src)
	v := p.recent[slot].Load()
	age := uint32(nowMS) - uint32(v)
	if v == 0 || uint32(v>>32) != tag || time.Duration(age)*time.Millisecond > primeWait {
		return false
	}
	if p.recent[slot].CompareAndSwap(v, 0) {
		p.count(&p.answered)
	}
	return true
}

// pays reports whether half of the packets sampled lately were answered.
func (p *Primer) pays() bool { return 2*p.answered.Load() >= p.sampled.Load() }

// count counts one packet. Two handlers that count at once may halve the window twice,
// which changes its weight only.
func (p *Primer) count(n *atomic.Uint32) {
	if n.Add(1) < primeWindow {
		return
	}
	p.sampled.Store(p.sampled.Load() / 2)
	p.answered.Store(p.answered.Load() / 2)
}

// primeHash spreads the stations of a packet over the slots, and gives a tag that tells
// apart most of those in one slot. It is 0 for none.
func primeHash(src, dst odp.MAC) (slot int, tag uint32) {
	const odd = 0x9e3779b97f4a7c15
	h := (src.Uint64()*odd ^ dst.Uint64()) * odd
	return int(h >> 52 % primeSlots), uint32(h) | 1
}

// prime adds a request for the flow of the packets that answer u, if these are likely to
// come and are forwarded by their addresses alone. It comes before the request that sends
// u on: the receiver may answer within that.
func (h *Handler) prime(p *Port, u *dpif.Upcall, v *policy.Verdict, now int64) {
	k := &h.l2Key
	if !k.Of(u.Fields(), v.Mask.Bytes()) || !h.budget.Ample() {
		return
	}
	if src, dst := k.Stations(); !h.primer.wants(src, dst, now) {
		return
	}
	k.Reverse(v.Peer)
	r := &h.reverse
	r.Clear()
	if !h.policy.Redecide(k[:], r) || !r.Install || r.Spoofed || r.Actions.Err() != nil || !odp.MasksL2(r.Mask.Bytes()) {
		return
	}
	if h.install(p, dpif.NewPrimedUFID(h.hasher.HashMasked(k[:], r.Mask.Bytes()), now), k[:], r) {
		p.flowsPrimed.Add(1)
	}
}
