package odp

import (
	"encoding/binary"

	"dpifd/internal/netlink"
)

// OutputLen is the length in bytes of the action that AppendOutput appends.
const OutputLen = 8

// AppendOutput appends the action that sends the packet out of port.
func AppendOutput(e *netlink.Encoder, port PortNo) {
	e.Uint32(ActionAttrOutput, uint32(port))
}

// AppendInPort appends the in-port to a key.
func AppendInPort(e *netlink.Encoder, port PortNo) {
	e.Uint32(KeyAttrInPort, uint32(port))
}

// AppendInPortMask appends the in-port to a mask. Every mask needs it: without
// it the kernel wildcards the in-port.
func AppendInPortMask(e *netlink.Encoder) {
	e.Uint32(KeyAttrInPort, ^uint32(0))
}

// AppendRecircID appends the recirculation id to a key, or its matched bits to a mask.
func AppendRecircID(e *netlink.Encoder, id uint32) { e.Uint32(KeyAttrRecircID, id) }

// SetRecircID changes the recirculation id in the key b, and reports whether b has one.
func SetRecircID(b []byte, id uint32) bool {
	attr := netlink.FindAttr(b, KeyAttrRecircID)
	if len(attr) != 4 {
		return false
	}
	binary.NativeEndian.PutUint32(attr, id)
	return true
}

// AppendEthernet appends both Ethernet addresses to a key, or their matched bits to a mask.
func AppendEthernet(e *netlink.Encoder, src, dst MAC) {
	var b [ethernetLen]byte
	copy(b[:], src[:])
	copy(b[6:], dst[:])
	if m := e.Space(netlink.AttrSize(len(b))); m != nil {
		netlink.PutAttr(m, KeyAttrEthernet, b[:])
	}
}

// AppendEthertype appends the EtherType, given in host byte order, to a key or
// a mask.
func AppendEthertype(e *netlink.Encoder, v uint16) {
	e.Attr(KeyAttrEthertype, []byte{byte(v >> 8), byte(v)})
}

// AppendVLAN appends the TCI, given in host byte order, to a key or a mask. In a key the present
// bit 0x1000 must be set.
func AppendVLAN(e *netlink.Encoder, tci uint16) {
	e.Attr(KeyAttrVLAN, []byte{byte(tci >> 8), byte(tci)})
}

// AppendPushVLAN appends the action that adds a VLAN tag with the given TPID and TCI (struct
// ovs_action_push_vlan), both in host byte order. The present bit 0x1000 of the TCI must be set.
func AppendPushVLAN(e *netlink.Encoder, tpid, tci uint16) {
	e.Attr(ActionAttrPushVLAN, []byte{byte(tpid >> 8), byte(tpid), byte(tci >> 8), byte(tci)})
}

// AppendMeter appends the action that drops the packet if it exceeds the meter's
// rate.
func AppendMeter(e *netlink.Encoder, id uint32) { e.Uint32(ActionAttrMeter, id) }

// AppendDrop appends the action that drops the packet, with a reason of 0 or not 0 (Linux
// 6.7).
func AppendDrop(e *netlink.Encoder, reason uint32) { e.Uint32(ActionAttrDrop, reason) }

// AppendPopVLAN appends the action that removes the outer VLAN tag.
func AppendPopVLAN(e *netlink.Encoder) { e.Flag(ActionAttrPopVLAN) }

// AppendRecirc appends the action that looks the packet up again with a recirculation id in its
// key. It must be the last one, otherwise the kernel copies the packet.
func AppendRecirc(e *netlink.Encoder, id uint32) { e.Uint32(ActionAttrRecirc, id) }
