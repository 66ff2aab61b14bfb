package odp

import "dpifd/internal/netlink"

// MaxActions is the maximum size of actions, in bytes, that all kernels accept: MAX_ACTIONS_BUFSIZE
// of net/openvswitch/flow_netlink.c, Linux 4.4, minus the header of struct sw_flow_actions. Linux
// 6.1 accepts what an attribute can hold.
const MaxActions = 32<<10 - 64

// SplitActions divides actions into lists of at most limit bytes, and calls each with one after
// the other. Each executed on a copy of the packet, they have the effect of actions: every
// output is in one list, and each list starts with the earlier changes of the packet. A meter
// counts once per list. SplitActions stops when each returns false. It returns false if it
// stopped, if actions contains anything but outputs, tunnels to output into, pushed or popped
// VLAN tags and meters, or if they do not fit.
func SplitActions(actions []byte, limit int, each func([]byte) bool) bool {
	if !splittable(actions) {
		return false
	}
	var before, tunnel, part []byte // changes so far; the tunnel chosen last
	outputs, chosen := 0, false     // in part; tunnel is not in part yet
	for rest := actions; len(rest) > 0; {
		t, _, next := netlink.CutAttr(rest)
		action := rest[:len(rest)-len(next)]
		rest = next
		switch t {
		case ActionAttrSet:
			tunnel, chosen = action, true
			continue // it belongs to the next output
		case ActionAttrOutput:
		default:
			before = append(before, action...)
		}
		if outputs > 0 && len(part)+len(tunnel)+len(action) > limit {
			if !each(part) {
				return false
			}
			part, outputs, chosen = append(part[:0], before...), 0, tunnel != nil
			if t != ActionAttrOutput {
				continue // it is in before
			}
		}
		if t == ActionAttrOutput {
			if chosen {
				part, chosen = append(part, tunnel...), false
			}
			outputs++
		}
		part = append(part, action...)
		if len(part) > limit {
			return false
		}
	}
	return outputs == 0 || each(part)
}

// splittable reports whether SplitActions knows all of the actions.
func splittable(actions []byte) bool {
	it := netlink.NewAttrs(actions)
	for it.Next() {
		switch it.Type() {
		case ActionAttrOutput, ActionAttrPushVLAN, ActionAttrPopVLAN, ActionAttrMeter:
		case ActionAttrSet:
			if netlink.FindAttr(it.Data(), KeyAttrTunnel) == nil {
				return false
			}
		default:
			return false
		}
	}
	return it.Err() == nil
}
