package policy

import (
	"bytes"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Arguments of the drop action: which of two drop reasons the kernel gives
// (net/openvswitch/drop.h of Linux 6.7).
const (
	dropExplicit  = 0 // OVS_DROP_EXPLICIT
	dropWithError = 1 // OVS_DROP_EXPLICIT_WITH_ERROR
)

var (
	explicitDrop = dropAction(dropExplicit)
	refusedDrop  = dropAction(dropWithError)
)

func dropAction(reason uint32) []byte {
	var e netlink.Encoder
	odp.AppendDrop(&e, reason)
	return bytes.Clone(e.Bytes())
}

// FlowActions returns the actions of the verdict's flow. They are Actions, except for a drop if the
// kernel has the drop action (Linux 6.7), which tells perf and dropwatch the reason. The result is
// valid until v changes and must not be modified.
func (v *Verdict) FlowActions(hasDrop bool) []byte {
	switch {
	case v.Actions.Len() > 0 || !hasDrop:
		return v.Actions.Bytes()
	case v.Refused || v.Spoofed:
		return refusedDrop
	}
	return explicitDrop
}
