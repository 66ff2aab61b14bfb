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
	// A packet that waits for an answer is remembered for the default idle time of its flow.
	primeWait = 10 * time.Second
	// One of primeSample packets gets no flow for its answers, to keep measuring the share of
	// answers.
	primeSample = 16
	// primeWindow limits the number of packets from which the share of answers is computed.
	primeWindow = 64
	// primePrior is the number of packets without answer that are assumed at start, so that as
	// many must be answered first.
	primePrior = 8
)

// Primer decides for which packets the flow of the answers is installed together with their own
// flow. It remembers the stations of some packets without such a flow: if the answer becomes an
// upcall, a flow would have saved it. Priming is worthwhile if half of these packets are answered,
// because an upcall costs more than twice as much as installing a flow. All handlers share one
// primer, because the answer arrives on another port.
type Primer struct {
	recent            [primeSlots]atomic.Uint64 // by hash of the stations: a part of the hash, and the time
	sampled, answered atomic.Uint32             // of the window
	turn              atomic.Uint32
}

// NewPrimer returns a primer that has seen no packet.
func NewPrimer() *Primer {
	p := &Primer{}
	p.sampled.Store(primePrior)
	return p
}

// wants reports whether to install the flow of the answers to a packet from src to dst that
// became an upcall at nowMS. It returns false for a packet that itself answers an earlier
// upcall, because the flow of that one exists.
func (p *Primer) wants(src, dst uint64, nowMS int64) bool {
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

// isAnswer reports whether a packet from dst to src recently became an upcall and got no flow
// for its answers.
func (p *Primer) isAnswer(src, dst uint64, nowMS int64) bool {
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

// pays reports whether half of the recently sampled packets were answered.
func (p *Primer) pays() bool { return 2*p.answered.Load() >= p.sampled.Load() }

// count counts one packet. Two handlers at the same time may halve the window twice, which only
// changes its weight.
func (p *Primer) count(n *atomic.Uint32) {
	if n.Add(1) < primeWindow {
		return
	}
	p.sampled.Store(p.sampled.Load() / 2)
	p.answered.Store(p.answered.Load() / 2)
}

// primeHash maps the stations of a packet to a slot and a tag that distinguishes most stations
// in one slot. A tag is never 0, which means none.
func primeHash(src, dst uint64) (slot int, tag uint32) {
	const odd = 0x9e3779b97f4a7c15
	h := (src*odd ^ dst) * odd
	return int(h >> 52 % primeSlots), uint32(h) | 1
}

// prime adds a request for the flow of the packets that answer a packet whose flow's key is
// h.l2Key, if answers are likely and are forwarded by their addresses alone. The request
// precedes the one that forwards the packet, because the receiver may answer during that.
func (h *Handler) prime(p *Port, v *policy.Verdict, now int64) {
	if !h.budget.Ample() {
		return
	}
	if src, dst := h.l2Key.Stations(); !h.primer.wants(src, dst, now) {
		return
	}
	k := &h.answerKey
	*k = h.l2Key
	k.Reverse(v.Peer)
	r := &h.reverse
	r.Clear()
	if !h.policy.Redecide(k[:], r) || !r.Install || r.Spoofed || r.Actions.Err() != nil || !odp.MasksL2(r.Mask.Bytes()) {
		return
	}
	if h.install(p, dpif.NewPrimedUFID(h.hasher.HashL2(k, r.Mask.Bytes()), now), k[:], r) {
		p.flowsPrimed.Add(1)
	}
}
