package policy

import (
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

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
	// Peer is the only port that the packet goes to, if it goes there as it came;
	// HasPeer says so. Packets from there that answer it are forwarded in the same way
	// back, unless Redecide of their key says otherwise.
	Peer    odp.PortNo
	HasPeer bool
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
	v.HasPeer = false
	v.Reason = ""
}

// Port is one vport as policies see it.
type Port struct {
	No odp.PortNo
	// Name is that of the port's entry in the configuration, or of its device if there
	// is no such entry. It is unique.
	Name string
	// Device is the name of the port's device.
	Device string
	// Listed: the port has an entry in the configuration.
	Listed bool
	// OnlyVLAN0: unless it has VLAN settings, the port carries VLAN 0 alone.
	OnlyVLAN0 bool
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
	Decide(u *dpif.Upcall, nowMS int64, v *Verdict)
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

// MeterPolicy is a policy whose actions name meters.
type MeterPolicy interface {
	Policy
	// Meters returns the meters that are to be in the datapath. The result is
	// not changed, by either side. It may be called by any goroutine.
	Meters() []dpif.Meter
	// UseMeters tells, again and again, whether they are. Before, actions must
	// not name them. It may be called by any goroutine.
	UseMeters(ok bool)
}

// StaticFlow is a flow that is to be in the datapath whatever the traffic. Its
// slices do not change.
type StaticFlow struct {
	Match, Actions string // as configured, in ODP text
	UFID           dpif.UFID
	Key, Mask      []byte // OVS_KEY_ATTR_* attributes
	Do             []byte // OVS_ACTION_ATTR_* attributes
	// Missing names a port that the flow is about and that is not in the
	// datapath, "" if there is none. Until it comes the flow is not installed,
	// and its UFID is another one than it is then.
	Missing string
}

// StaticPolicy is a policy with static flows. The revalidator installs them,
// never expires them, and restores them within a cycle when somebody deletes
// or changes them. Kernels before 4.0, which have no UFIDs, refuse them.
type StaticPolicy interface {
	Policy
	// StaticFlows returns the flows for the ports of the last SetPorts. The
	// result is not changed, by either side. It may be called by any goroutine.
	StaticFlows() []StaticFlow
}
