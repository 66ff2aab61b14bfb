package policy

import (
	"dpifd/internal/dpif"
	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// Verdict is the decision of a policy about one upcall. Its encoders reuse their memory.
type Verdict struct {
	// Actions holds OVS_ACTION_ATTR_* attributes; none drops the packet.
	Actions netlink.Encoder
	// Mask holds OVS_KEY_ATTR_* attributes with a one in each bit of the key
	// that the decision read. Attributes left out are wildcards. The in-port
	// is always exact.
	Mask netlink.Encoder
	// Install requests a flow, so that the kernel forwards the next packet of the kind alone.
	Install bool
	// If HasPeer, Peer is the only port to which the packet is sent, and the packet is
	// unchanged. Answers from Peer are forwarded back in the same way, unless Redecide of their
	// key decides otherwise.
	Peer    odp.PortNo
	HasPeer bool
	// Refused says that a packet is dropped because a setting of its in-port forbids it, not
	// because it has no destination.
	Refused bool
	// Stage says to which flows Actions and Mask belong. SourceMask is the mask of the first of
	// two. Renew says that installed flows from and to the packet's source may be out of date, see
	// StagedPolicy.Renewal.
	Stage      Stage
	SourceMask netlink.Encoder
	Renew      bool
	// Reason names the decision, snake_case, for traces: "learned_unicast".
	Reason string
	// Spoofed says that the packet is dropped because the port may not send it.
	Spoofed bool
	// Explain is nil for packets. If it is set, Decide decides in the same way but learns and
	// changes nothing, and calls Explain for each step: its name in snake_case, and the finding
	// as a sentence. Such a decision may allocate.
	Explain func(step, found string)
}

// Clear empties the verdict; it keeps the memory and Explain.
func (v *Verdict) Clear() {
	v.Actions.Clear()
	v.Mask.Clear()
	v.Install = false
	v.HasPeer, v.Refused = false, false
	v.Stage = OneStage
	v.SourceMask.Clear()
	v.Renew = false
	v.Reason = ""
	v.Spoofed = false
}

// Port is a vport as seen by policies.
type Port struct {
	No odp.PortNo
	// Name is the name of the port's entry in the configuration, or of its device if there is
	// no entry. It is unique.
	Name string
	// Device is the name of the port's device.
	Device string
	// Listed: the port has an entry in the configuration.
	Listed bool
	// OnlyVLAN0: without VLAN settings, the port carries VLAN 0 only.
	OnlyVLAN0 bool
	// SinceMS is the time since which the port certainly has its number, 0 if that was before
	// the service began. An earlier use of a flow with this in-port may be from another port.
	SinceMS int64
}

// Policy decides what happens to packets. Decide and Redecide are called by
// several goroutines at once, without any lock held; Observe, Expiring,
// Expire and SetPorts by one at a time, but concurrently with the former.
//
// Times are milliseconds of CLOCK_MONOTONIC, the clock of
// OVS_FLOW_ATTR_USED.
type Policy interface {
	// Decide fills v, which is cleared, for a packet that arrived at nowMS. It must not
	// allocate in the steady state, and must not block. See Verdict.Explain for a decision
	// without a packet.
	Decide(u *dpif.Upcall, nowMS int64, v *Verdict)
	// Redecide fills v, which is cleared, with what Decide would write now for a packet of an
	// installed flow with this key, without learning anything. It returns false if the flow
	// must be removed, so that its next packet is an upcall.
	Redecide(key []byte, v *Verdict) bool
	// Observe reports that the kernel last saw a packet of the installed flow with this key at
	// usedMS. Observe learns what Decide would have learned from that packet, unless something
	// newer is known or the packet may be from another port, see Port.SinceMS.
	Observe(key []byte, usedMS int64)
	// Expiring reports whether Expire would remove anything at nowMS. If so, all flows are
	// observed before Expire is called, so that nothing with traffic in the kernel is removed.
	Expiring(nowMS int64) bool
	// Expire removes entries that are older than the policy's limits at nowMS.
	Expire(nowMS int64)
	// Generation increases whenever an input of earlier decisions may have changed. The
	// revalidator then decides all flows again.
	Generation() uint64
	// SetPorts sets the ports that are now in the datapath. The policy keeps no reference to
	// ports.
	SetPorts(ports []Port)
}

// MeterPolicy is a policy whose actions name meters.
type MeterPolicy interface {
	Policy
	// Meters returns the meters that the datapath must have. Neither side changes the result.
	// It may be called by any goroutine.
	Meters() []Meter
	// UseMeters reports, repeatedly, whether they are installed. Actions must not name them
	// before. It may be called by any goroutine.
	UseMeters(ok bool)
}

// StaticFlow is a flow that is always installed. Its slices do not change.
type StaticFlow struct {
	Match, Actions string // as configured, in ODP text
	UFID           dpif.UFID
	Key, Mask      []byte // OVS_KEY_ATTR_* attributes
	Do             []byte // OVS_ACTION_ATTR_* attributes
	// Missing names a port of the flow that is not in the datapath, "" if there is none. Until
	// the port is added the flow is not installed, and it has another UFID.
	Missing string
}

// StaticPolicy is a policy with static flows. The revalidator installs them, never expires
// them, and restores them within a cycle if another program deletes or changes them. Kernels
// before 4.0, which have no UFIDs, refuse them.
type StaticPolicy interface {
	Policy
	// StaticFlows returns the flows for the ports of the last SetPorts. Neither side changes
	// the result. It may be called by any goroutine.
	StaticFlows() []StaticFlow
}
