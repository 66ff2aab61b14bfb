package upcall

import (
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// maxRenewed limits the flows renewed by the requests of one batch. The revalidator corrects the
// others.
const maxRenewed = 64

const (
	recentSlots = 256
	// recentMS is the time in ms for which a second-stage flow counts as installed.
	recentMS = 1000
)

// stages is the state for flows in two stages.
type stages struct {
	first   policy.Verdict  // of the first-stage flow, or of a flow that is renewed
	key     netlink.Encoder // key of a flow that is renewed
	second  []byte          // key of the second-stage flow
	renewed int             // number of flows renewed in this batch
	recent  [recentSlots]recentFlow
}

// recentFlow is a second-stage flow that the handler has put.
type recentFlow struct {
	hash uint64 // of its UFID
	at   int64  // ms
}

// installStages adds requests for the flows of a verdict in two stages: the second one first, so
// that no packet causes an upcall between them. Their UFIDs allow renew to find them. The second
// flow is left out if it was put recently; if it is missing nevertheless, the next packet's upcall
// after the first stage puts it.
func (h *Handler) installStages(p *Port, u *dpif.Upcall, v *policy.Verdict, now int64) {
	if v.Stage == policy.SecondStage {
		h.install(p, dpif.NewTimelessUFID(h.hasher.HashTable(u.Fields(), v.Mask.Bytes())), u.Key, v)
		return
	}
	h.second = append(h.second[:0], u.Key...)
	if !odp.SetRecircID(h.second, policy.RecircID) {
		return // two stages need keys with a recirculation id
	}
	hash := h.hasher.HashMasked(h.second, v.Mask.Bytes())
	recent := &h.recent[hash%recentSlots]
	if recent.hash != hash || now-recent.at > recentMS {
		if h.install(p, dpif.NewTimelessUFID(hash), h.second, v) {
			*recent = recentFlow{hash, now}
		}
	}
	first := &h.first
	first.Clear()
	first.Mask.Raw(v.SourceMask.Bytes()...)
	odp.AppendRecirc(&first.Actions, policy.RecircID)
	h.install(p, dpif.NewTimelessUFID(h.hasher.HashTable(u.Fields(), first.Mask.Bytes())), u.Key, first)
}

// renew adds requests that delete first-stage flows from the packet's source at other ports, and
// that update the actions of second-stage flows to it. For missing flows the kernel returns ENOENT.
func (h *Handler) renew(p *Port, u *dpif.Upcall) {
	for i := 0; h.renewed < maxRenewed; i++ {
		r := &h.first
		r.Clear()
		h.key.Clear()
		if !h.staged.Renewal(u.Key, i, &h.key, r) {
			return
		}
		key, mask, actions := h.key.Bytes(), r.Mask.Bytes(), r.FlowActions(h.hasDrop)
		if !r.Install || h.key.Err() != nil || r.Mask.Err() != nil || r.Actions.Err() != nil {
			continue
		}
		id := dpif.NewTimelessUFID(h.hasher.HashMasked(key, mask))
		f := dpif.Flow{UFID: id, HasUFID: true, Key: key, Mask: mask, Actions: actions}
		if r.Stage == policy.FirstStage {
			h.out.RemoveFlow(&f)
		} else if !h.out.PutFlow(&f, dpif.Modify) {
			continue
		}
		h.ops = append(h.ops, request{p, requestRenew})
		h.renewed++
	}
}
