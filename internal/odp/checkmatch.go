package odp

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// transports are the fields that the kernel requires to be matched exactly before a mask may
// name a transport header.
var transports = []struct {
	attr, ethertype uint16
	proto           byte
}{
	{KeyAttrTCP, 0, 6}, {KeyAttrTCPFlags, 0, 6}, {KeyAttrUDP, 0, 17}, {KeyAttrSCTP, 0, 132},
	{KeyAttrICMP, ethertypeIPv4, 1}, {KeyAttrICMPv6, ethertypeIPv6, 58}, {KeyAttrND, ethertypeIPv6, 58},
}

// Imply adds to a match what its fields imply and the text left out: the EtherType of an IP or
// ARP header, the protocol of a transport header, the TPID 0x8100 of a tag. tcp, udp and sctp
// imply no EtherType, because there are two. It removes bits from the mask that the kernel does
// not keep.
//
// named has the bit 1<<t for each attribute t that the text names, even without a field.
func Imply(key, mask *Packed, named uint64) {
	set := func(attr uint16) bool { return named>>attr&1 != 0 }
	if mask[offEthertype] == 0 {
		for _, l3 := range []struct {
			ethertype uint16
			attrs     []uint16
		}{
			{ethertypeIPv4, []uint16{KeyAttrIPv4, KeyAttrICMP}},
			{ethertypeIPv6, []uint16{KeyAttrIPv6, KeyAttrICMPv6, KeyAttrND}},
			{ethertypeARP, []uint16{KeyAttrARP}},
		} {
			if slices.ContainsFunc(l3.attrs, set) {
				binary.BigEndian.PutUint16(key[offEthertype:], l3.ethertype)
				mask[offEthertype], mask[offEthertype+1] = 0xff, 0xff
				break
			}
		}
	}
	if proto := protoAt(binary.BigEndian.Uint16(key[offEthertype:])); proto != 0 && mask[proto] == 0 {
		for _, l4 := range transports {
			if set(l4.attr) {
				key[proto], mask[proto] = l4.proto, 0xff
				break
			}
		}
	}
	if key[offARPOp] == 0 {
		mask[offARPOp] = 0 // the kernel's key has one byte of the operation
	}
	for at := offTCI; at < offTCI+4*maxNesting; at += 4 {
		if key[at]&0x10 != 0 && mask[at]&0x10 != 0 && mask[at+2] == 0 {
			key[at+2], key[at+3], mask[at+2], mask[at+3] = 0x81, 0, 0xff, 0xff
		}
	}
}

// protoAt returns the offset of the protocol in packets of the EtherType, 0 if they have none.
func protoAt(ethertype uint16) int {
	switch ethertype {
	case ethertypeIPv4:
		return 68 + 8
	case ethertypeIPv6:
		return 80 + 36
	}
	return 0
}

func (p *Packed) hasUnit(attr uint16) bool {
	u := unitOf[attr]
	return !allZeros(p[u.off : u.off+u.size])
}

// CheckMatch returns why the kernel would reject a flow with this key and mask, as far as fields
// depend on other fields (match_validate and validate_vlan_from_nlattrs of
// net/openvswitch/flow_netlink.c, 6.1).
func CheckMatch(key, mask *Packed) error {
	typ := binary.BigEndian.Uint16(key[offEthertype:])
	if mask[offEthertype] == 0 {
		typ = 0
	}
	set := func(attr uint16) bool { return mask.hasUnit(attr) }
	for depth := range maxNesting {
		at := offTCI + 4*depth
		tci, tpid := binary.BigEndian.Uint16(key[at:]), binary.BigEndian.Uint16(key[at+2:])
		switch {
		case tci == 0 && mask[at+2] != 0:
			return errors.New("encap without vlan, or a vlan without tag")
		case tci == 0:
		case tci&0x1000 == 0 || mask[at]&0x10 == 0:
			return errors.New("vlan(...) must match the presence of the tag")
		case tpid != 0x8100 && tpid != 0x88a8 || mask[at+2] != 0xff:
			return errors.New("vlan(...) needs eth_type(0x8100) or eth_type(0x88a8) before it, and encap(...) after it")
		}
	}
	for _, l3 := range []struct {
		attr  uint16
		types []uint16
	}{{KeyAttrIPv4, []uint16{ethertypeIPv4}}, {KeyAttrIPv6, []uint16{ethertypeIPv6}},
		{KeyAttrARP, []uint16{ethertypeARP, ethertypeRARP}}} {
		if set(l3.attr) && typ != l3.types[0] && typ != l3.types[len(l3.types)-1] {
			return fmt.Errorf("%s(...) needs eth_type(0x%04x)", keyByType(l3.attr).name, l3.types[0])
		}
	}
	if err := checkType(key, mask); err != nil {
		return err
	}
	at := protoAt(typ)
	for _, l4 := range transports {
		if !set(l4.attr) {
			continue
		}
		if at == 0 || l4.ethertype != 0 && typ != l4.ethertype || key[at] != l4.proto || mask[at] != 0xff {
			return fmt.Errorf("%s(...) needs eth_type(0x0800) or eth_type(0x86dd), and proto=%d", keyByType(l4.attr).name,
				l4.proto)
		}
		if key[at+3] == fragLater {
			return fmt.Errorf("%s(...) cannot be combined with frag=later: later fragments have no such header",
				keyByType(l4.attr).name)
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

// checkType checks EtherType and tags by themselves.
func checkType(key, mask *Packed) error {
	typ, tagged := binary.BigEndian.Uint16(key[offEthertype:]), key[offInnerTCI]&0x10 != 0
	switch {
	case mask[offEthertype] == 0:
	case typ == 0x894f:
		return errors.New("eth_type(0x894f) needs nsh(...), which static flows cannot match")
	case !tagged && (typ == 0x8100 || typ == 0x88a8):
		return fmt.Errorf("eth_type(0x%04x) needs vlan(...) behind it", typ)
	case typ != 0 && typ < 0x600:
		return fmt.Errorf("eth_type(0x%04x): the lowest EtherType is 0x0600; eth_type(0/0xffff) matches 802.2 frames", typ)
	}
	if mask.hasUnit(KeyAttrARP) && key[offARPOp] != 0 {
		return errors.New("arp(...): the kernel knows operations up to 255")
	}
	if mask.filler(key) == 0 {
		return errors.New("vlan(...) alone: the kernel needs another field, such as in_port(...) or eth_type(...) " +
			"inside encap(...)")
	}
	return nil
}
