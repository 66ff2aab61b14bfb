package forward

import (
	"encoding/binary"
	"fmt"

	"dpifd/internal/netlink"
	"dpifd/internal/odp"
)

// swKey is a packet's key, or a mask, as in the kernel (struct sw_flow_key of
// net/openvswitch/flow.h, Linux 6.1). Its functions follow the kernel's code and share none with
// the program.
type swKey [swKeyLen]byte

// place is the position of a field in a swKey.
type place struct{ off, size int }

const swKeyLen = 192

var swKeyUsed int

func swField(size int) place {
	p := place{swKeyUsed, size}
	swKeyUsed += size
	return p
}

// Fields, in the byte order of their attributes. As in the kernel, some are shared: proto is also
// the operation of an ARP packet, ports also type and code of ICMP.
var (
	swRecirc, swHash, swPriority = swField(4), swField(4), swField(4)
	swInPort, swMark             = swField(4), swField(4)
	swCTState, swCTMark          = swField(4), swField(4)
	swTunProto, swTunFlags       = swField(1), swField(1)
	swTunID                      = swField(8)
	swTunSrc4, swTunDst4         = swField(4), swField(4)
	swTunSrc6, swTunDst6         = swField(16), swField(16)
	swTunTOS, swTunTTL           = swField(1), swField(1)
	swSrc, swDst                 = swField(6), swField(6)
	swTCI, swTPID                = swField(2), swField(2)
	swInnerTCI, swInnerTPID      = swField(2), swField(2)
	swType                       = swField(2)
	swProto, swTOS               = swField(1), swField(1)
	swTTL, swFrag                = swField(1), swField(1)
	swSrc4, swDst4               = swField(4), swField(4)
	swSHA, swTHA                 = swField(6), swField(6)
	swSrcPort, swDstPort         = swField(2), swField(2)
	swTCPFlags                   = swField(2)
	swSrc6, swDst6               = swField(16), swField(16)
	swLabel                      = swField(4)
	swTarget                     = swField(16)
)

const tunnelHasKey = 1

func (k *swKey) at(p place) []byte { return k[p.off : p.off+p.size] }

func (k *swKey) u16(p place) uint16        { return binary.BigEndian.Uint16(k.at(p)) }
func (k *swKey) put16(p place, v uint16)   { binary.BigEndian.PutUint16(k.at(p), v) }
func (k *swKey) put32(p place, v uint32)   { binary.NativeEndian.PutUint32(k.at(p), v) }
func (k *swKey) isZero(list ...place) bool { return allZero(k.join(list)) }

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}

// pad is a part of an attribute that is zero and not in the key.
func pad(size int) place { return place{-1, size} }

func (k *swKey) join(list []place) []byte {
	var b []byte
	for _, p := range list {
		if p.off < 0 {
			b = append(b, make([]byte, p.size)...)
		} else {
			b = append(b, k.at(p)...)
		}
	}
	return b
}

func (k *swKey) split(list []place, b []byte) {
	for _, p := range list {
		if p.off >= 0 {
			copy(k.at(p), b[:p.size])
		}
		b = b[p.size:]
	}
}

// low is the second byte of a two-byte field.
func low(p place) place { return place{p.off + 1, 1} }

// swAttrs lists the fields of attributes. Tags and tunnels are handled separately.
var swAttrs = map[uint16][]place{
	odp.KeyAttrRecircID: {swRecirc}, odp.KeyAttrDPHash: {swHash}, odp.KeyAttrPriority: {swPriority},
	odp.KeyAttrInPort: {swInPort}, odp.KeyAttrSkbMark: {swMark},
	odp.KeyAttrCTState: {swCTState}, odp.KeyAttrCTMark: {swCTMark}, odp.KeyAttrCTZone: {pad(2)},
	odp.KeyAttrCTLabels: {pad(16)},
	odp.KeyAttrEthernet: {swSrc, swDst}, odp.KeyAttrEthertype: {swType},
	odp.KeyAttrIPv4: {swSrc4, swDst4, swProto, swTOS, swTTL, swFrag},
	odp.KeyAttrIPv6: {swSrc6, swDst6, swLabel, swProto, swTOS, swTTL, swFrag},
	odp.KeyAttrARP:  {swSrc4, swDst4, pad(1), swProto, swSHA, swTHA, pad(2)},
	odp.KeyAttrTCP:  {swSrcPort, swDstPort}, odp.KeyAttrUDP: {swSrcPort, swDstPort},
	odp.KeyAttrSCTP: {swSrcPort, swDstPort}, odp.KeyAttrTCPFlags: {swTCPFlags},
	odp.KeyAttrICMP: {low(swSrcPort), low(swDstPort)}, odp.KeyAttrICMPv6: {low(swSrcPort), low(swDstPort)},
	odp.KeyAttrND: {swTarget, swSHA, swTHA},
}

const (
	type8022                    = 4 // ETH_P_802_2
	typeIPv4, typeIPv6          = 0x0800, 0x86dd
	typeARP, typeRARP           = 0x0806, 0x8035
	isTCP, isUDP, isSCTP        = 6, 17, 132
	isICMP, isICMPv6            = 1, 58
	laterFragment               = 2
	leastType                   = 0x0600 // ETH_P_802_3_MIN
	vlanTag, serviceTag         = 0x8100, 0x88a8
	kernelsPresent       uint16 = 0x1000 // VLAN_CFI_MASK
)

func isTag(typ uint16) bool { return typ == vlanTag || typ == serviceTag }

// attributes encodes the key's attributes as __ovs_nla_put_key does: k determines which exist, and
// out what they contain.
func (k *swKey) attributes(out *swKey, isMask bool) []byte {
	var e netlink.Encoder
	put := func(attrs ...uint16) {
		for _, a := range attrs {
			e.Attr(a, out.join(swAttrs[a]))
		}
	}
	put(odp.KeyAttrRecircID, odp.KeyAttrDPHash, odp.KeyAttrPriority)
	if !k.isZero(swTunProto) {
		e.Nested(odp.KeyAttrTunnel, out.putTunnel)
	}
	put(odp.KeyAttrInPort, odp.KeyAttrSkbMark, odp.KeyAttrCTState, odp.KeyAttrCTZone, odp.KeyAttrCTMark,
		odp.KeyAttrCTLabels, odp.KeyAttrEthernet)
	payload := func(e *netlink.Encoder) { k.putPayload(e, out, isMask) }
	typ := k.u16(swType)
	if k.isZero(swTCI) && !isTag(typ) {
		payload(&e)
		return e.Bytes()
	}
	e.Attr(odp.KeyAttrEthertype, out.at(swTPID))
	e.Attr(odp.KeyAttrVLAN, out.at(swTCI))
	e.Nested(odp.KeyAttrEncap, func(e *netlink.Encoder) {
		switch {
		case k.isZero(swTCI):
		case k.isZero(swInnerTCI) && !isTag(typ):
			payload(e)
		default:
			e.Attr(odp.KeyAttrEthertype, out.at(swInnerTPID))
			e.Attr(odp.KeyAttrVLAN, out.at(swInnerTCI))
			e.Nested(odp.KeyAttrEncap, func(e *netlink.Encoder) {
				if !k.isZero(swInnerTCI) {
					payload(e)
				}
			})
		}
	})
	return e.Bytes()
}

func (k *swKey) putTunnel(e *netlink.Encoder) {
	if k.at(swTunFlags)[0]&tunnelHasKey != 0 {
		e.Attr(odp.TunnelAttrID, k.at(swTunID))
	}
	for _, f := range []struct {
		attr uint16
		p    place
	}{
		{odp.TunnelAttrIPv4Src, swTunSrc4}, {odp.TunnelAttrIPv4Dst, swTunDst4}, {odp.TunnelAttrIPv6Src, swTunSrc6}, {odp.TunnelAttrIPv6Dst, swTunDst6},
		{odp.TunnelAttrTOS, swTunTOS},
	} {
		if !k.isZero(f.p) {
			e.Attr(f.attr, k.at(f.p))
		}
	}
	e.Attr(odp.TunnelAttrTTL, k.at(swTunTTL))
}

func (k *swKey) putPayload(e *netlink.Encoder, out *swKey, isMask bool) {
	put := func(attrs ...uint16) {
		for _, a := range attrs {
			e.Attr(a, out.join(swAttrs[a]))
		}
	}
	typ := k.u16(swType)
	if typ == type8022 {
		if isMask && !out.isZero(swType) {
			put(odp.KeyAttrEthertype)
		}
		return
	}
	put(odp.KeyAttrEthertype)
	put(k.layer3()...)
	if attrs := k.layer4(); attrs != nil {
		put(attrs...)
	}
}

// layer3 returns the attributes that the EtherType implies, except for those of the transport
// header.
func (k *swKey) layer3() []uint16 {
	switch k.u16(swType) {
	case typeIPv4:
		return []uint16{odp.KeyAttrIPv4}
	case typeIPv6:
		return []uint16{odp.KeyAttrIPv6}
	case typeARP, typeRARP:
		return []uint16{odp.KeyAttrARP}
	}
	return nil
}

// layer4 returns the attributes that the protocol implies.
func (k *swKey) layer4() []uint16 {
	typ, proto := k.u16(swType), k.at(swProto)[0]
	if typ != typeIPv4 && typ != typeIPv6 || k.at(swFrag)[0] == laterFragment {
		return nil
	}
	switch {
	case proto == isTCP:
		return []uint16{odp.KeyAttrTCP, odp.KeyAttrTCPFlags}
	case proto == isUDP:
		return []uint16{odp.KeyAttrUDP}
	case proto == isSCTP:
		return []uint16{odp.KeyAttrSCTP}
	case proto == isICMP && typ == typeIPv4:
		return []uint16{odp.KeyAttrICMP}
	case proto == isICMPv6 && typ == typeIPv6 && k.isND():
		return []uint16{odp.KeyAttrICMPv6, odp.KeyAttrND}
	case proto == isICMPv6 && typ == typeIPv6:
		return []uint16{odp.KeyAttrICMPv6}
	}
	return nil
}

// isND reports whether an ICMPv6 packet belongs to neighbour discovery.
func (k *swKey) isND() bool { return k.u16(swSrcPort) == 135 || k.u16(swSrcPort) == 136 }

// swFlow is a flow in the kernel's table.
type swFlow struct{ key, mask swKey }

// takes reports whether the flow matches the packet.
func (f *swFlow) takes(packet *swKey) bool {
	for i := range packet {
		if (packet[i]^f.key[i])&f.mask[i] != 0 {
			return false
		}
	}
	return true
}

// dump returns the flow's attributes in the form that the kernel dumps.
func (f *swFlow) dump() (key, mask []byte) {
	masked := f.key
	for i := range masked {
		masked[i] &= f.mask[i]
	}
	return masked.attributes(&masked, false), masked.attributes(&f.mask, true)
}

// newSWFlow creates a flow from the attributes of FLOW_NEW, as ovs_nla_get_match does, or returns
// why the kernel rejects it.
func newSWFlow(key, mask []byte) (*swFlow, error) {
	f := &swFlow{}
	f.key.put32(swInPort, uint32(odp.MaxPorts)) // DP_MAX_PORTS
	f.key.put16(swType, type8022)
	keys, err := f.key.take(key, false)
	if err != nil {
		return nil, fmt.Errorf("key: %w", err)
	}
	// A TCI that is not in the mask is exact.
	f.mask.put16(swTCI, 0xffff)
	f.mask.put16(swInnerTCI, 0xffff)
	masks, err := f.mask.take(mask, true)
	if err != nil {
		return nil, fmt.Errorf("mask: %w", err)
	}
	return f, f.validate(keys, masks)
}

// take parses a list of attributes and returns the set of their types; for a mask, only those with
// bits set.
func (k *swKey) take(b []byte, isMask bool) (have uint64, err error) {
	tags := []struct{ tpid, tci place }{{swTPID, swTCI}, {swInnerTPID, swInnerTCI}}
	for {
		attrs := map[uint16][]byte{}
		it := netlink.NewAttrs(b)
		for it.Next() {
			if _, twice := attrs[it.Type()]; twice {
				return have, fmt.Errorf("attribute %d twice", it.Type())
			}
			if !isMask || !allZero(it.Data()) {
				attrs[it.Type()] = it.Data()
			}
		}
		if it.Err() != nil {
			return have, it.Err()
		}
		typ, vlan, encap := attrs[odp.KeyAttrEthertype], attrs[odp.KeyAttrVLAN], attrs[odp.KeyAttrEncap]
		tagged := typ != nil && len(tags) > 0 && (isMask && encap != nil || !isMask && isTag(binary.BigEndian.Uint16(typ)))
		if tagged {
			if !isMask && (vlan == nil || encap == nil) {
				return have, fmt.Errorf("invalid VLAN frame")
			}
			if vlan != nil {
				copy(k.at(tags[0].tci), vlan)
				if !isMask && binary.BigEndian.Uint16(vlan)&kernelsPresent == 0 {
					return have, fmt.Errorf("VLAN TCI without its bit")
				}
			}
			copy(k.at(tags[0].tpid), typ)
			if isMask {
				k.put16(tags[0].tpid, 0xffff)
			}
			delete(attrs, odp.KeyAttrEthertype)
			delete(attrs, odp.KeyAttrVLAN)
			delete(attrs, odp.KeyAttrEncap)
			tags = tags[1:]
		}
		for a, data := range attrs {
			if a == odp.KeyAttrVLAN && isMask && encap == nil {
				return have, fmt.Errorf("VLAN mask without encap")
			}
			if err := k.takeAttr(a, data, isMask); err != nil {
				return have, err
			}
			have |= 1 << a
		}
		if !tagged {
			return have, nil
		}
		b = encap
	}
}

func (k *swKey) takeAttr(a uint16, data []byte, isMask bool) error {
	if a == odp.KeyAttrTunnel {
		return k.takeTunnel(data, isMask)
	}
	list, known := swAttrs[a]
	size := 0
	for _, p := range list {
		size += p.size
	}
	if !known || len(data) != size {
		return fmt.Errorf("attribute %d of %d bytes", a, len(data))
	}
	k.split(list, data)
	switch {
	case a == odp.KeyAttrInPort && isMask:
		k.put32(swInPort, ^uint32(0))
	case a == odp.KeyAttrEthertype && isMask:
		k.put16(swType, 0xffff)
	case a == odp.KeyAttrEthertype && k.u16(swType) < leastType:
		return fmt.Errorf("EtherType %#x", k.u16(swType))
	}
	return nil
}

func (k *swKey) takeTunnel(b []byte, isMask bool) error {
	k.at(swTunProto)[0] = 2 // AF_INET
	it := netlink.NewAttrs(b)
	for it.Next() {
		switch it.Type() {
		case odp.TunnelAttrID:
			copy(k.at(swTunID), it.Data())
			k.at(swTunFlags)[0] |= tunnelHasKey
		case odp.TunnelAttrIPv4Src:
			copy(k.at(swTunSrc4), it.Data())
		case odp.TunnelAttrIPv4Dst:
			copy(k.at(swTunDst4), it.Data())
		case odp.TunnelAttrIPv6Src:
			copy(k.at(swTunSrc6), it.Data())
			k.at(swTunProto)[0] = 10 // AF_INET6
		case odp.TunnelAttrIPv6Dst:
			copy(k.at(swTunDst6), it.Data())
		case odp.TunnelAttrTOS:
			copy(k.at(swTunTOS), it.Data())
		case odp.TunnelAttrTTL:
			copy(k.at(swTunTTL), it.Data())
		default:
			return fmt.Errorf("tunnel attribute %d", it.Type())
		}
	}
	if isMask {
		k.at(swTunProto)[0] = 0xff
	}
	return it.Err()
}

// validate is match_validate: a key must have what its types imply, and a mask may have a header
// only if the fields that determine its type are exact.
func (f *swFlow) validate(keys, masks uint64) error {
	needed, conditional := uint64(0), uint64(0)
	for _, a := range []uint16{
		odp.KeyAttrIPv4, odp.KeyAttrIPv6, odp.KeyAttrTCP, odp.KeyAttrTCPFlags, odp.KeyAttrUDP, odp.KeyAttrSCTP,
		odp.KeyAttrICMP, odp.KeyAttrICMPv6, odp.KeyAttrARP, odp.KeyAttrND, odp.KeyAttrMPLS, odp.KeyAttrNSH,
	} {
		conditional |= 1 << a
	}
	allowed := keys&^conditional | 1<<odp.KeyAttrTunnel | 1<<odp.KeyAttrInPort | 1<<odp.KeyAttrEthertype
	for _, a := range f.key.layer3() {
		needed |= 1 << a
		if f.mask.u16(swType) == 0xffff {
			allowed |= 1 << a
		}
	}
	for _, a := range f.key.layer4() {
		needed |= 1 << a
		exact := f.mask.at(swProto)[0] == 0xff
		if a == odp.KeyAttrND {
			exact = f.mask.at(swSrcPort)[1] == 0xff
		}
		if exact {
			allowed |= 1 << a
		}
	}
	if missing := needed &^ keys; missing != 0 {
		return fmt.Errorf("missing key: attributes %#x", missing)
	}
	if unexpected := masks &^ allowed; unexpected != 0 {
		return fmt.Errorf("unexpected mask: attributes %#x", unexpected)
	}
	return nil
}
