package forward

import (
	"sync/atomic"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// Stages is the number of stages in which flows match a packet.
//
// In one stage a flow matches in-port, VLAN, source and destination: n stations have up to n² flows. In two
// stages a first flow matches in-port, VLAN and source, which says that the source is known there, and
// recirculates the packet; a second one matches in-port, VLAN and destination: n stations on p ports have
// n + p n flows, and each packet takes two look-ups.
type Stages uint8

const (
	StagesOne Stages = iota
	StagesTwo
	StagesAuto // one until flows approach the flow limit
)

// stages records the VLANs whose flows have two stages.
type stages struct {
	mode Stages
	two  [vlanIDs / 64]atomic.Uint64 // a bit for each VLAN
	// settled says that flows found at the start no longer influence the choice.
	settled atomic.Bool
}

// start sets the mode, before any packet is decided.
func (s *stages) start(mode Stages) {
	s.mode = mode
	word := uint64(0)
	if mode == StagesTwo {
		word = ^word
	}
	for i := range s.two {
		s.two[i].Store(word)
	}
}

func (s *stages) has(vlan uint16) bool { return s.two[vlan/64].Load()>>(vlan%64)&1 == 1 }

func (s *stages) set(vlan uint16, two bool) {
	if bit := uint64(1) << (vlan % 64); two {
		s.two[vlan/64].Or(bit)
	} else {
		s.two[vlan/64].And(^bit)
	}
}

func (s *stages) any() bool {
	for i := range s.two {
		if s.two[i].Load() != 0 {
			return true
		}
	}
	return false
}

// found records a second-stage flow that was in the datapath before this policy was in force.
func (s *stages) found(vlan uint16) {
	if s.mode == StagesAuto && !s.settled.Load() {
		s.set(vlan, true)
	}
}

// stageVLAN returns the VLAN that determines the stages of frames in a VLAN: with shared learning
// all VLANs are one, as for MACs.
func (l *Learning) stageVLAN(vlan uint16) uint16 {
	if l.shared {
		return 0
	}
	return vlan
}

// stage returns the stage of a packet. holds is false for a packet between two stages in a VLAN
// with one. Packets decided without the source, such as rejected frames, have one stage; so have
// packets of ports whose rules read source and payload, and packets of kernels without
// recirculation ids in keys.
func (l *Learning) stage(k *odp.Key, f *frame, refused string) (stage policy.Stage, holds bool) {
	between, two := k.RecircID == policy.RecircID, !f.guarded && l.stages.has(l.stageVLAN(f.vlan))
	switch {
	case !between && !two, refused != "", !k.HasRecircID, l.reserves(k.EthDst):
		return policy.OneStage, true
	case !two:
		return policy.OneStage, false
	case between:
		return policy.SecondStage, true
	default:
		return policy.FirstStage, true
	}
}

// forwardStaged completes forward for a packet whose flows have two stages. dst is the mask of the
// destination.
func (l *Learning) forwardStaged(k *odp.Key, f *frame, dst odp.MAC, v *policy.Verdict) {
	v.HasPeer = false // the answer's flows have other masks
	odp.AppendRecircID(&v.Mask, ^uint32(0))
	odp.AppendEthernet(&v.Mask, odp.MAC{}, dst)
	if v.Stage == policy.FirstStage {
		appendSourceMask(&v.SourceMask, k, f)
	}
	if v.Explain != nil {
		v.Explain("stages", "the VLAN has flows in two stages, by source and by destination")
	}
}

// appendSourceMask appends the mask of the first of two stages. The mask distinguishes the
// tunnels of a device.
func appendSourceMask(e *netlink.Encoder, k *odp.Key, f *frame) {
	odp.AppendInPortMask(e)
	if f.tunneled {
		odp.AppendTunnelMask(e, f.ip6)
	}
	odp.AppendRecircID(e, ^uint32(0))
	odp.AppendEthernet(e, sourceMask(k.EthSrc), odp.MAC{})
}

// Renewal implements policy.StagedPolicy: it lists second-stage flows to the source from each port,
// and first-stage flows from it at other ports. Tunnels, flows that read the TOS, and frames with a
// priority or two tags are left to the revalidator.
func (l *Learning) Renewal(of []byte, i int, key *netlink.Encoder, v *policy.Verdict) bool {
	set := l.load()
	var k odp.Key
	var f frame
	if i >= 2*len(set.ports) || set.inherits || odp.ParseKey(of, &k) != nil || set.admit(of, &k, &f) != "" {
		return false
	}
	in := &set.ports[i/2]
	if in.no >= odp.MaxPorts || !in.carries(f.vlan) {
		return true
	}
	if first := i%2 == 1; first {
		if v.Install = in != f.in; v.Install {
			v.Stage = policy.FirstStage
			appendSourceMask(&v.Mask, &k, &frame{})
			in.appendKey(key, 0, f.vlan, k.EthSrc, odp.MAC{})
		}
		return true
	}
	in.appendKey(key, policy.RecircID, f.vlan, odp.MAC{}, k.EthSrc)
	v.Install = l.Redecide(key.Bytes(), v) && v.Stage == policy.SecondStage
	return true
}

// appendKey appends the key of a packet of the VLAN that arrives at the port with at most the
// VLAN's tag.
func (p *port) appendKey(e *netlink.Encoder, recirc uint32, vlan uint16, src, dst odp.MAC) {
	odp.AppendRecircID(e, recirc)
	odp.AppendInPort(e, p.no)
	odp.AppendEthernet(e, src, dst)
	if p.tags(vlan) {
		odp.AppendEthertype(e, tpidOfTag)
		odp.AppendVLAN(e, tagPresent|vlan)
		e.Nested(odp.KeyAttrEncap, func(*netlink.Encoder) {})
	}
}

// BalanceStages implements policy.StagedPolicy. The number of flows in one stage is at most that of
// pairs of stations, so one stage is used if the limit easily holds these. Otherwise two stages are
// used once flows approach the limit and are at least twice as many as two stages could have:
// clients of few servers, and random sources, have no more flows in one stage.
func (l *Learning) BalanceStages(flows, limit int, full bool) (changes []policy.StageChange) {
	s := &l.stages
	if full {
		s.settled.Store(true)
	}
	near := 2*flows >= limit
	if s.mode != StagesAuto || !near && !s.any() {
		return nil
	}
	var stations [vlanIDs]int
	l.table.countVLANs(&stations)
	set := l.load()
	for vlan, n := range stations {
		is, two := s.has(uint16(vlan)), false
		ports := set.carriers(uint16(vlan))
		if l.shared {
			ports = len(set.ports)
		}
		if pairs := n * n; is {
			two = 16*pairs >= limit && n > 1+ports
		} else {
			two = near && 4*pairs >= limit && flows >= 2*n*(1+ports)
		}
		if two != is {
			s.set(uint16(vlan), two)
			changes = append(changes, policy.StageChange{VLAN: uint16(vlan), Two: two})
		}
	}
	if changes != nil {
		l.generation.Add(1)
	}
	return changes
}

// carriers returns the number of ports that carry a VLAN.
func (s *portSet) carriers(vlan uint16) int {
	d := s.domain(vlan)
	return len(d.tagged.index) + len(d.untagged.index)
}

// countVLANs counts the MACs of each VLAN.
func (t *table) countVLANs(n *[vlanIDs]int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range t.rings {
		for left, i := r.n, r.hand; left > 0; left, i = left-1, t.entries[i].next {
			n[t.entries[i].key>>48%vlanIDs]++
		}
	}
}
