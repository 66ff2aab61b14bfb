package upcall

import (
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
	"dpifd/internal/policy"
)

// maxRenewed bounds the flows that the requests of one batch renew. The revalidator finds the others.
const maxRenewed = 64

const (
	recentSlots = 256
	// recentMS is how long a flow of the second stage counts as installed, ms.
	recentMS = 1000
)

// stages is what flows in two stages are made with.
type stages struct {
	first   policy.Verdict  // of the flow of the first stage, or of one that is renewed
	key     netlink.Encoder // of the latter
	second  []byte          // the key of the flow of the second stage
	renewed int             // flows in this batch
	recent  [recentSlots]recentFlow
}

// recentFlow is a flow of the second stage that the handler has put.
type recentFlow struct {
	hash uint64 // of its UFID
	at   int64  // ms
}

// installStages adds requests for the flows of a verdict in two stages: for the second one first, so that no
// packet comes up between. They have UFIDs that renew finds again. The second one is left out if it was put
// lately. If it is not there all the same, the next packet comes up behind the first stage and puts it.
func (h *Handler) installStages(p *Port, u *dpif.Upcall, v *policy.Verdict, now int64) {
	if v.Stage == policy.SecondStage {
		h.install(p, dpif.NewTimelessUFID(h.hasher.HashTable(u.Fields(), v.Mask.Bytes())), u.Key, v)
		return
	}
	h.second = append(h.second[:0], u.Key...)
	if !odp.SetRecircID(h.second, policy.RecircID) {
		return // stages are for keys with an id
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

// renew adds requests that delete flows of the first stage from the packet's source at other ports, and that
// give those of the second stage to it the actions that hold now. The kernel refuses others with ENOENT.
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
