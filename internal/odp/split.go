package odp

import "dpifd/internal/netlink"

// MaxActions is the most bytes of actions that all kernels take: MAX_ACTIONS_BUFSIZE of
// net/openvswitch/flow_netlink.c, Linux 4.4, less the header of struct sw_flow_actions.
// Linux 6.1 takes what an attribute can hold.
const MaxActions = 32<<10 - 64

// SplitActions divides actions into lists of at most limit bytes, and calls each with
// one after the other. Executed on a copy of the packet each, they do what actions does:
// every output is in one list, and each list begins with what was done to the packet
// before. A meter is asked once for each list. It stops when each reports false. It
// reports false if it stopped, if actions has others than outputs, tunnels to output
// into, VLAN tags pushed or popped and meters, or if they do not fit.
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
			continue // it goes with the output that follows
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
				continue // before has it
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
