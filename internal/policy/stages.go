package policy

import "dpifd/internal/netlink"

// RecircID is the recirculation id of packets between the two stages. ovs-vswitchd counts its ids up
// from 1, and people write small numbers; this one is the text "dpif".
const RecircID = 0x64706966

// Stage says which flows a verdict is about.
type Stage uint8

const (
	// OneStage is one flow, of Mask and Actions.
	OneStage Stage = iota
	// FirstStage is two flows: one of SourceMask with the action recirc(RecircID), and one of Mask and
	// Actions for packets with that id, whatever their source.
	FirstStage
	// SecondStage is the latter alone, for a packet with that id.
	SecondStage
)

// StageChange is a VLAN that goes over to flows in two stages, or back.
type StageChange struct {
	VLAN uint16
	Two  bool
}

// StagedPolicy is a policy that may have flows put in two stages.
type StagedPolicy interface {
	Policy
	// Renewal is called after a Decide with Verdict.Renew, for i from 0 until it reports false. It fills key and v,
	// both cleared, with a flow that may be in force though it does not hold any more, since the source of the packet
	// with the key of has spoken up. v.Stage says whether to delete it, if it is of the first stage, or to give it v's
	// actions. There is none for this i unless v.Install.
	Renewal(of []byte, i int, key *netlink.Encoder, v *Verdict) bool
	// BalanceStages chooses for each VLAN between one and two stages by the number of flows in the
	// datapath and the limit of that, and returns what has changed. full says that since the last call
	// all flows were observed and re-decided. One goroutine calls it at a time.
	BalanceStages(flows, limit int, full bool) []StageChange
}
