package odp

import (
	"encoding/binary"

	"dpifd/internal/netlink"
)

// Metadata finds the part of a packet's key that the kernel needs to execute actions on the
// packet: everything that it neither reads from the packet itself
// (ovs_flow_key_extract_userspace, net/openvswitch/flow.c, Linux 4.0 and 6.1) nor takes for zero
// because it is missing (metadata_from_nlattrs, flow_netlink.c). The zero value is ready for
// use.
type Metadata struct {
	// before and after the in-port the last key had these bytes, all fields zero.
	before, after []byte
}

// Of returns that part of the key, borrowed from it. Keys from the kernel have the metadata
// before the addresses (__ovs_nla_put_key, flow_netlink.c); any other key is returned whole.
// Metadata with a field that is not zero, besides the in-port, is returned whole too.
func (m *Metadata) Of(key *netlink.AttrTable) []byte {
	if !key.Precedes(KeyAttrInPort, KeyAttrEthernet) {
		return key.List()
	}
	all := key.Before(KeyAttrEthernet)
	from := len(key.Before(KeyAttrInPort))
	to := from + netlink.AttrSize(inPortLen)
	if to > len(all) {
		return all
	}
	before, after := all[:from], all[to:]
	if string(before) != string(m.before) || string(after) != string(m.after) {
		if !zeroFields(before) || !zeroFields(after) {
			return all
		}
		m.before, m.after = append(m.before[:0], before...), append(m.after[:0], after...)
	}
	return all[from:to]
}

// zeroFields reports whether the attributes of a list are fields, all of them zero.
func zeroFields(list []byte) bool {
	for len(list) > 0 {
		t, data, rest := netlink.CutAttr(list)
		if t == netlink.NoAttr || len(data) == 0 || !allZeros(data) {
			return false
		}
		list = rest
	}
	return true
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

// AppendL2Mask appends to a mask the in-port and the bits that matter of both addresses.
func AppendL2Mask(e *netlink.Encoder, src, dst MAC) {
	m := e.Space(l2KeyLen)
	if m == nil {
		return
	}
	k := (*L2Key)(m)
	copy(k[:], l2Headers[0][:])
	binary.NativeEndian.PutUint32(k[4:], ^uint32(0))
	copy(k[ethAt:], l2Headers[1][:])
	*(*MAC)(k[ethAt+4:]), *(*MAC)(k[ethAt+4+6:]) = src, dst
}

// Reverse makes k the key of packets in the opposite direction, which come from a
// port.
func (k *L2Key) Reverse(from PortNo) {
	binary.NativeEndian.PutUint32(k[4:], uint32(from))
	dst, src := (*MAC)(k[ethAt+4+6:]), (*MAC)(k[ethAt+4:])
	*dst, *src = *src, *dst
}

// Stations returns the source and destination addresses, as MAC.Uint64 does.
func (k *L2Key) Stations() (src, dst uint64) {
	const pad = 64 - 48
	return binary.BigEndian.Uint64(k[ethAt+4:]) >> pad, binary.BigEndian.Uint64(k[l2KeyLen-8:]) << pad >> pad
}

const tagsOrTunnel = 1<<KeyAttrVLAN | 1<<KeyAttrEncap | 1<<KeyAttrTunnel
