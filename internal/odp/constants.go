package odp

// Key attributes: enum ovs_key_attr, linux/openvswitch.h of Linux 6.1. The kernel neither sends nor
// accepts types 29 and 30.
const (
	KeyAttrUnspec          = 0
	KeyAttrEncap           = 1
	KeyAttrPriority        = 2
	KeyAttrInPort          = 3
	KeyAttrEthernet        = 4
	KeyAttrVLAN            = 5
	KeyAttrEthertype       = 6
	KeyAttrIPv4            = 7
	KeyAttrIPv6            = 8
	KeyAttrTCP             = 9
	KeyAttrUDP             = 10
	KeyAttrICMP            = 11
	KeyAttrICMPv6          = 12
	KeyAttrARP             = 13
	KeyAttrND              = 14
	KeyAttrSkbMark         = 15
	KeyAttrTunnel          = 16
	KeyAttrSCTP            = 17
	KeyAttrTCPFlags        = 18
	KeyAttrDPHash          = 19
	KeyAttrRecircID        = 20
	KeyAttrMPLS            = 21
	KeyAttrCTState         = 22
	KeyAttrCTZone          = 23
	KeyAttrCTMark          = 24
	KeyAttrCTLabels        = 25
	KeyAttrCTOrigTupleIPv4 = 26
	KeyAttrCTOrigTupleIPv6 = 27
	KeyAttrNSH             = 28
	KeyAttrPacketType      = 29
	KeyAttrNDExtensions    = 30
	KeyAttrTunnelInfo      = 31
	KeyAttrIPv6ExtHdrs     = 32
)

// Action attributes: enum ovs_action_attr, linux/openvswitch.h of Linux 6.12.
// Linux 6.1 ends with ActionAttrDecTTL.
const (
	ActionAttrUnspec      = 0
	ActionAttrOutput      = 1
	ActionAttrUserspace   = 2
	ActionAttrSet         = 3
	ActionAttrPushVLAN    = 4
	ActionAttrPopVLAN     = 5
	ActionAttrSample      = 6
	ActionAttrRecirc      = 7
	ActionAttrHash        = 8
	ActionAttrPushMPLS    = 9
	ActionAttrPopMPLS     = 10
	ActionAttrSetMasked   = 11
	ActionAttrCT          = 12
	ActionAttrTrunc       = 13
	ActionAttrPushEth     = 14
	ActionAttrPopEth      = 15
	ActionAttrCTClear     = 16
	ActionAttrPushNSH     = 17
	ActionAttrPopNSH      = 18
	ActionAttrMeter       = 19
	ActionAttrClone       = 20
	ActionAttrCheckPktLen = 21
	ActionAttrAddMPLS     = 22
	ActionAttrDecTTL      = 23
	ActionAttrDrop        = 24
	ActionAttrPsample     = 25
)

// Attributes nested in ActionAttrUserspace: enum ovs_userspace_attr,
// linux/openvswitch.h of Linux 6.1.
const (
	UserspaceAttrPID           = 1
	UserspaceAttrUserdata      = 2
	UserspaceAttrEgressTunPort = 3
	UserspaceAttrActions       = 4
)
