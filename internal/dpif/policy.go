package dpif

import (
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Kind says why the kernel sent an upcall.
type Kind uint8

const (
	// Miss is OVS_PACKET_CMD_MISS: no flow matched the packet.
	Miss Kind = iota + 1
	// Action is OVS_PACKET_CMD_ACTION: a flow's userspace action sent it.
	Action
)

func (k Kind) String() string {
	switch k {
	case Miss:
		return "miss"
	case Action:
		return "action"
	default:
		return "unknown"
	}
}

// Upcall is one packet that the kernel sent up. All its slices are borrowed
// from the buffer or ring frame the upcall came in: they are valid until the
// batch it belongs to is released, which is after Policy.Decide returned and
// the verdict was sent. Nobody may keep or write them.
type Upcall struct {
	Kind   Kind
	InPort odp.PortNo
	// Key is the payload of OVS_PACKET_ATTR_KEY: OVS_KEY_ATTR_* attributes.
	Key []byte
	// Packet is the frame, from its Ethernet header on.
	Packet []byte
	// Userdata and Actions come with Action upcalls, as the flow's userspace
	// action gave them; EgressTunKey holds OVS_TUNNEL_KEY_ATTR_* attributes.
	Userdata, Actions, EgressTunKey []byte
	// MRU is the largest fragment's size in bytes, 0 unless the kernel
	// reassembled the packet. It goes back with the packet.
	MRU uint16
	// Len is the packet's size in bytes before it was truncated, 0 if it
	// was not.
	Len uint32
	// Hash is the kernel's packet hash, valid if HasHash. It goes back with
	// the packet.
	Hash    uint64
	HasHash bool

	fields netlink.AttrTable
}

// Fields returns the table of Key, which ParseUpcall has made already. It is valid
// as long as Key.
func (u *Upcall) Fields() *netlink.AttrTable {
	if !u.fields.Of(u.Key) {
		_ = u.fields.Scan(u.Key) // the table keeps the error
	}
	return &u.fields
}

// clear empties u, but for the table of its former key, which the next Scan
// replaces.
func (u *Upcall) clear() {
	u.Kind, u.InPort, u.Key, u.Packet = 0, 0, nil, nil
	u.Userdata, u.Actions, u.EgressTunKey = nil, nil, nil
	u.MRU, u.Len, u.Hash, u.HasHash = 0, 0, 0, false
}

// Verdict is what a policy decided about one upcall. Its encoders keep their
// memory from upcall to upcall.
type Verdict struct {
	// Actions holds OVS_ACTION_ATTR_* attributes; none drops the packet.
	Actions netlink.Encoder
	// Mask holds OVS_KEY_ATTR_* attributes with a one in each bit of the key
	// that the decision read. Attributes left out are wildcards. The in-port
	// is always exact.
	Mask netlink.Encoder
	// Install says whether a flow is to be installed, so that the next
	// packet of the kind stays in the kernel.
	Install bool
	// Reason names the decision, snake_case, for traces: "learned_unicast".
	Reason string
	// Explain is nil for packets. If it is set, Decide takes the same way
	// but learns and changes nothing, and hands over each step of the
	// decision: its name, snake_case, and what was found, as a sentence for
	// people. Such a decision may allocate.
	Explain func(step, found string)
}

// Clear empties the verdict and keeps its memory, and Explain.
func (v *Verdict) Clear() {
	v.Actions.Clear()
	v.Mask.Clear()
	v.Install = false
	v.Reason = ""
}

// Port is one vport as policies see it.
type Port struct {
	No   odp.PortNo
	Name string
	// SinceMS is when the port had its number at the latest, 0 if that was before the
	// service began. A flow with this in-port that was used earlier may have been used
	// by another port.
	SinceMS int64
}

// Policy decides what happens to packets. Decide and Redecide are called by
// several goroutines at once, without any lock held; Observe, Expiring,
// Expire and SetPorts by one at a time, but concurrently with the former.
//
// Times are milliseconds of CLOCK_MONOTONIC, the clock of
// OVS_FLOW_ATTR_USED.
type Policy interface {
	// Decide fills v, which is cleared, for a packet that arrived at nowMS.
	// It must not allocate in the steady state, and must not block. See
	// Verdict.Explain for a decision that is only asked about.
	Decide(u *Upcall, nowMS int64, v *Verdict)
	// Redecide fills v, which is cleared, with what Decide would write now for a packet of an
	// installed flow with this key, without learning anything. It reports
	// false when the flow ought to be removed, so that its next packet comes
	// up again.
	Redecide(key []byte, v *Verdict) bool
	// Observe tells that a packet of the installed flow with this key was
	// last seen by the kernel at usedMS. What Decide would have learned from that packet, Observe
	// learns, unless something newer is known, or the packet may be another port's, see
	// Port.SinceMS.
	Observe(key []byte, usedMS int64)
	// Expiring reports whether Expire would forget anything at nowMS. When it
	// does, all flows are observed before Expire is called, so that nothing is
	// forgotten whose traffic stays in the kernel.
	Expiring(nowMS int64) bool
	// Expire forgets what is older than the policy's limits at nowMS.
	Expire(nowMS int64)
	// Generation grows each time something changes that a former
	// decision may have depended on. The revalidator then re-decides all flows.
	Generation() uint64
	// SetPorts tells the ports now in the datapath. The policy keeps no reference to ports.
	SetPorts(ports []Port)
}
