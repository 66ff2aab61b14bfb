package dpif

// Names of the generic netlink families, linux/openvswitch.h.
const (
	familyDatapath = "ovs_datapath"
	familyVport    = "ovs_vport"
	familyFlow     = "ovs_flow"
	familyPacket   = "ovs_packet"
	familyMeter    = "ovs_meter"
	familyCTLimit  = "ovs_ct_limit"
)

// ovsHeaderLen is sizeof(struct ovs_header).
const ovsHeaderLen = 4

// Commands, the same numbers in all of enum ovs_datapath_cmd, ovs_vport_cmd
// and ovs_flow_cmd.
const (
	cmdNew = 1
	cmdDel = 2
	cmdGet = 3
	cmdSet = 4
)

// enum ovs_packet_cmd.
const (
	packetCmdMiss    = 1
	packetCmdAction  = 2
	packetCmdExecute = 3
)

// enum ovs_datapath_attr.
const (
	dpAttrName           = 1
	dpAttrUpcallPID      = 2
	dpAttrStats          = 3
	dpAttrMegaflowStats  = 4
	dpAttrUserFeatures   = 5
	dpAttrMasksCacheSize = 7
	dpAttrPerCPUPIDs     = 8
)

// enum ovs_vport_attr.
const (
	vportAttrPortNo    = 1
	vportAttrType      = 2
	vportAttrName      = 3
	vportAttrOptions   = 4
	vportAttrUpcallPID = 5
	vportAttrStats     = 6
	vportAttrIfindex   = 8
	vportAttrNetnsID   = 9
	// Linux >= 6.2.
	vportAttrUpcallStats = 10
)

// enum ovs_vport_upcall_attr, linux/openvswitch.h of Linux 6.2.
const (
	vportUpcallAttrSuccess = 0
	vportUpcallAttrFail    = 1
)

// tunnelAttrDstPort is OVS_TUNNEL_ATTR_DST_PORT, in vportAttrOptions.
const tunnelAttrDstPort = 1

// enum ovs_flow_attr.
const (
	flowAttrKey       = 1
	flowAttrActions   = 2
	flowAttrStats     = 3
	flowAttrTCPFlags  = 4
	flowAttrUsed      = 5
	flowAttrMask      = 7
	flowAttrUFID      = 9
	flowAttrUFIDFlags = 10
)

// OVS_UFID_F_OMIT_*: what a flow dump may leave out.
const (
	ufidOmitKey     = 1 << 0
	ufidOmitMask    = 1 << 1
	ufidOmitActions = 1 << 2
)

// enum ovs_packet_attr.
const (
	packetAttrPacket       = 1
	packetAttrKey          = 2
	packetAttrActions      = 3
	packetAttrUserdata     = 4
	packetAttrEgressTunKey = 5
	packetAttrMRU          = 9
	packetAttrLen          = 10
	packetAttrHash         = 11
)

// enum ovs_meter_cmd, ovs_meter_attr, ovs_band_attr and ovs_meter_band_type.
const (
	meterCmdSet = 2
	meterCmdDel = 3
	meterCmdGet = 4

	meterAttrID    = 1
	meterAttrStats = 3
	meterAttrBands = 4

	bandAttrUnspec = 0
	bandAttrType   = 1
	bandAttrRate   = 2
	bandAttrBurst  = 3
	bandAttrStats  = 4

	bandTypeDrop = 1
)
