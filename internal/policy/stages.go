package policy

import "dpifd/internal/netlink"

// RecircID is the recirculation id of packets between the two stages. It is the text "dpif",
// because ovs-vswitchd assigns its ids from 1 upwards, and people use small numbers.
const RecircID = 0x64706966

// Stage says to which flows a verdict belongs.
type Stage uint8

const (
	// OneStage is one flow, with Mask and Actions.
	OneStage Stage = iota
	// FirstStage is two flows: one with SourceMask and the action recirc(RecircID), and one with
	// Mask and Actions for packets with that id from any source.
	FirstStage
	// SecondStage is only the latter, for a packet with that id.
	SecondStage
)

// StageChange is a VLAN that changes to flows in two stages, or back.
type StageChange struct {
	VLAN uint16
	Two  bool
}

// StagedPolicy is a policy that may use flows in two stages.
type StagedPolicy interface {
	Policy
	// Renewal is called after a Decide with Verdict.Renew, for i from 0 until it returns false. It
	// fills key and v, both cleared, with an installed flow that may be out of date, because the
	// source of the packet with key of was seen elsewhere. v.Stage says whether to delete the flow,
	// if it is of the first stage, or to give it v's actions. Without v.Install there is no flow
	// for this i.
	Renewal(of []byte, i int, key *netlink.Encoder, v *Verdict) bool
	// BalanceStages chooses for each VLAN between one and two stages by the number of flows in the
	// datapath and its limit, and returns the changes. full says that all flows were observed and
	// re-decided since the last call. One goroutine calls it at a time.
	BalanceStages(flows, limit int, full bool) []StageChange
}
