package odp

import (
	"encoding/binary"

	"dpifd/internal/netlink"
)

// MetadataKey returns the part of a packet's key that the kernel needs to execute actions on
// the packet, borrowed from the key: everything that it does not read from the packet itself
// (ovs_flow_key_extract_userspace, net/openvswitch/flow.c, Linux 4.0 and 6.1). Keys from the
// kernel have the metadata before the addresses (__ovs_nla_put_key of flow_netlink.c); any
// other key is returned whole.
func MetadataKey(key *netlink.AttrTable) []byte {
	if !key.Precedes(KeyAttrInPort, KeyAttrEthernet) {
		return key.List()
	}
	return key.Before(KeyAttrEthernet)
}

// L2Key has room for a key of in-port and addresses.
type L2Key [l2KeyLen]byte

const (
	inPortLen = 4
	ethLen    = 12
	ethAt     = 4 + inPortLen // where the addresses' attribute is in an L2Key
	l2KeyLen  = ethAt + 4 + ethLen
)

// Of reports whether a flow with this mask needs only in-port and addresses of a packet's key, and
// sets k to these, as a list of attributes, if so. The kernel installs the same flow and has less
// to check. Tags and tunnels are matched with any mask, so a key with one is needed whole.
func (k *L2Key) Of(key *netlink.AttrTable, mask []byte) bool {
	port, eth := key.Get(KeyAttrInPort), key.Get(KeyAttrEthernet)
	if len(mask) != l2KeyLen || len(port) != inPortLen || len(eth) != ethLen || key.HasAny(tagsOrTunnel) {
		return false
	}
	netlink.PutAttr(netlink.PutAttr(k[:], KeyAttrInPort, port), KeyAttrEthernet, eth)
	return MasksL2(mask)
}

// MasksL2 reports whether a mask consists of in-port and addresses, in this order.
func MasksL2(mask []byte) bool {
	return len(mask) == l2KeyLen && [4]byte(mask) == l2Headers[0] && [4]byte(mask[ethAt:]) == l2Headers[1]
}

// l2Headers are the attribute headers of an L2Key.
var l2Headers = func() (h [2][4]byte) {
	var k L2Key
	netlink.PutAttr(netlink.PutAttr(k[:], KeyAttrInPort, make([]byte, inPortLen)), KeyAttrEthernet, make([]byte, ethLen))
	return [2][4]byte{[4]byte(k[:]), [4]byte(k[ethAt:])}
}()

// Reverse makes k the key of packets in the opposite direction, which come from a
// port.
func (k *L2Key) Reverse(from PortNo) {
	binary.NativeEndian.PutUint32(k[4:], uint32(from))
	dst, src := (*MAC)(k[ethAt+4+6:]), (*MAC)(k[ethAt+4:])
	*dst, *src = *src, *dst
}

// Stations returns the source and destination addresses.
func (k *L2Key) Stations() (src, dst MAC) {
	return MAC(k[ethAt+4:]), MAC(k[ethAt+4+6:])
}

const tagsOrTunnel = 1<<KeyAttrVLAN | 1<<KeyAttrEncap | 1<<KeyAttrTunnel
