package odp

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// transports are what the kernel wants to match exactly before a mask may name a
// transport header.
var transports = []struct {
	attr, ethertype uint16
	proto           byte
}{
	{KeyAttrTCP, 0, 6}, {KeyAttrTCPFlags, 0, 6}, {KeyAttrUDP, 0, 17}, {KeyAttrSCTP, 0, 132},
	{KeyAttrICMP, ethertypeIPv4, 1}, {KeyAttrICMPv6, ethertypeIPv6, 58}, {KeyAttrND, ethertypeIPv6, 58},
}

// CheckMatch says what keeps the kernel from taking a flow with this key and
// mask, as far as it is about fields that need others (match_validate and
// validate_vlan_from_nlattrs of net/openvswitch/flow_netlink.c, 6.1).
func CheckMatch(key, mask *Packed) error {
	typ := binary.BigEndian.Uint16(key[offEthertype:])
	if mask[offEthertype] == 0 {
		typ = 0
	}
	set := func(attr uint16) bool {
		u := unitOf[attr]
		return !allZeros(mask[u.off : u.off+u.size])
	}
	for depth := range maxNesting {
		at := offTCI + 4*depth
		tci, tpid := binary.BigEndian.Uint16(key[at:]), binary.BigEndian.Uint16(key[at+2:])
		switch {
		case tci == 0 && mask[at+2] != 0:
			return errors.New("encap without vlan, or a vlan without tag")
		case tci == 0:
		case tci&0x1000 == 0 || mask[at]&0x10 == 0:
			return errors.New("vlan(...) has to match the tag's presence")
		case tpid != 0x8100 && tpid != 0x88a8 || mask[at+2] != 0xff:
			return errors.New("vlan(...) needs eth_type(0x8100) or eth_type(0x88a8) before it, and encap(...) behind it")
		}
	}
	for _, l3 := range []struct {
		attr  uint16
		types []uint16
	}{{KeyAttrIPv4, []uint16{ethertypeIPv4}}, {KeyAttrIPv6, []uint16{ethertypeIPv6}}, {KeyAttrARP, []uint16{ethertypeARP, ethertypeRARP}}} {
		if set(l3.attr) && typ != l3.types[0] && typ != l3.types[len(l3.types)-1] {
			return fmt.Errorf("%s(...) needs eth_type(0x%04x)", keyByType(l3.attr).name, l3.types[0])
		}
	}
	proto, protoMask := key[68+8], mask[68+8]
	if typ == ethertypeIPv6 {
		proto, protoMask = key[80+36], mask[80+36]
	}
	for _, l4 := range transports {
		if !set(l4.attr) {
			continue
		}
		isIP := typ == ethertypeIPv4 || typ == ethertypeIPv6
		if !isIP || l4.ethertype != 0 && typ != l4.ethertype || proto != l4.proto || protoMask != 0xff {
			return fmt.Errorf("%s(...) needs ipv4(...) or ipv6(...) with proto=%d", keyByType(l4.attr).name, l4.proto)
		}
	}
	if set(KeyAttrND) {
		icmp := unitOf[KeyAttrICMPv6].off
		if typ := key[icmp]; typ != 135 && typ != 136 || mask[icmp] != 0xff {
			return errors.New("nd(...) needs icmpv6(...) with type=135 or type=136")
		}
	}
	return nil
}
