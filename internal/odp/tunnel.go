package odp

import (
	"encoding/binary"
	"fmt"
	"net/netip"

	"dpifd/internal/netlink"
)

// Attributes nested in KeyAttrTunnel: enum ovs_tunnel_key_attr,
// linux/openvswitch.h of Linux 6.1, as far as forwarding uses them.
const (
	TunnelAttrID           = 0
	TunnelAttrIPv4Src      = 1
	TunnelAttrIPv4Dst      = 2
	TunnelAttrTOS          = 3
	TunnelAttrTTL          = 4
	TunnelAttrDontFragment = 5
	TunnelAttrCSum         = 6
	TunnelAttrTPDst        = 10
	TunnelAttrIPv6Src      = 12
	TunnelAttrIPv6Dst      = 13
)

var (
	// ErrNoTunnel means that a key has no tunnel attribute with both addresses. It matches
	// netlink.ErrMalformed, because packets of a tunnel device have the attribute.
	ErrNoTunnel = fmt.Errorf("flow key: no tunnel with two addresses of one family: %w", netlink.ErrMalformed)
	errTunnelID = fmt.Errorf("flow key: tunnel id is not of 8 bytes: %w", netlink.ErrMalformed)
)

// TunnelKey identifies the tunnel of a received packet.
type TunnelKey struct {
	ID       uint64     // VNI or GRE key; 0 without one
	Src, Dst netip.Addr // of the outer packet: the peer, and this side
}

// ParseTunnel returns the tunnel of a packet with the key b. An error matches
// netlink.ErrMalformed. It does not allocate.
func ParseTunnel(b []byte) (TunnelKey, error) {
	var t TunnelKey
	it := netlink.NewAttrs(netlink.FindAttr(b, KeyAttrTunnel))
	for it.Next() {
		data := it.Data()
		switch it.Type() {
		case TunnelAttrID:
			if len(data) != 8 {
				return t, errTunnelID
			}
			t.ID = binary.BigEndian.Uint64(data)
		case TunnelAttrIPv4Src, TunnelAttrIPv6Src:
			t.Src, _ = netip.AddrFromSlice(data)
		case TunnelAttrIPv4Dst, TunnelAttrIPv6Dst:
			t.Dst, _ = netip.AddrFromSlice(data)
		}
	}
	if err := it.Err(); err != nil {
		return t, err
	}
	if !t.Src.IsValid() || !t.Dst.IsValid() || t.Src.Is4() != t.Dst.Is4() {
		return t, ErrNoTunnel
	}
	return t, nil
}

// AppendTunnelMask appends the fields of a TunnelKey to a mask, all exact.
func AppendTunnelMask(e *netlink.Encoder, ip6 bool) {
	src, dst, ones := uint16(TunnelAttrIPv4Src), uint16(TunnelAttrIPv4Dst), exactBits[:4]
	if ip6 {
		src, dst, ones = TunnelAttrIPv6Src, TunnelAttrIPv6Dst, exactBits[:]
	}
	e.Nested(KeyAttrTunnel, func(e *netlink.Encoder) {
		e.Attr(TunnelAttrID, exactBits[:8])
		e.Attr(src, ones)
		e.Attr(dst, ones)
	})
}

var exactBits = [16]byte{
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
	0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
}

// SetTunnel is the destination to which a tunnel device sends a packet.
type SetTunnel struct {
	ID           uint64
	HasID        bool
	Src          netip.Addr // not valid: the kernel's choice
	Dst          netip.Addr
	TOS, TTL     uint8
	DontFragment bool
	CSum         bool
	DstPort      uint16 // of UDP, 0 without
}

// AppendSetTunnel appends the action set(tunnel(...)), byte for byte as the
// kernel dumps it (__ip_tun_to_nlattr of net/openvswitch/flow_netlink.c,
// Linux 6.1, on a machine that reads unaligned words). It returns the offset
// in e.Bytes of the TOS byte, 0 if TOS is 0: the kernel then dumps none.
func AppendSetTunnel(e *netlink.Encoder, t *SetTunnel) (tosAt int) {
	src, dst := uint16(TunnelAttrIPv4Src), uint16(TunnelAttrIPv4Dst)
	if t.Dst.Is6() {
		src, dst = TunnelAttrIPv6Src, TunnelAttrIPv6Dst
	}
	e.Nested(ActionAttrSet, func(e *netlink.Encoder) {
		e.Nested(KeyAttrTunnel, func(e *netlink.Encoder) {
			if t.HasID {
				e.Attr(TunnelAttrID, binary.BigEndian.AppendUint64(nil, t.ID))
			}
			if t.Src.IsValid() {
				e.Attr(src, t.Src.AsSlice())
			}
			e.Attr(dst, t.Dst.AsSlice())
			if t.TOS != 0 {
				e.Uint8(TunnelAttrTOS, t.TOS)
				tosAt = e.Len() - 4
			}
			e.Uint8(TunnelAttrTTL, t.TTL)
			if t.DontFragment {
				e.Flag(TunnelAttrDontFragment)
			}
			if t.CSum {
				e.Flag(TunnelAttrCSum)
			}
			if t.DstPort != 0 {
				e.Attr(TunnelAttrTPDst, binary.BigEndian.AppendUint16(nil, t.DstPort))
			}
		})
	})
	return tosAt
}

// Offsets of the type of service, or traffic class, in struct ovs_key_ipv4 and struct
// ovs_key_ipv6, and the sizes of these.
const (
	ipv4KeyLen, ipv4TOSAt = 12, 9
	ipv6KeyLen, ipv6TOSAt = 40, 37
)

// DSCPMask has the bits of the type of service that are not those of
// congestion notification (RFC 3168).
const DSCPMask = 0xfc

// TOS returns the type of service of the IP packet with the key b, without the bits of
// congestion notification; 0 for other packets.
func TOS(b []byte) uint8 {
	for range maxNesting + 1 {
		if ip := netlink.FindAttr(b, KeyAttrIPv4); len(ip) == ipv4KeyLen {
			return ip[ipv4TOSAt] & DSCPMask
		}
		if ip := netlink.FindAttr(b, KeyAttrIPv6); len(ip) == ipv6KeyLen {
			return ip[ipv6TOSAt] & DSCPMask
		}
		b = netlink.FindAttr(b, KeyAttrEncap)
	}
	return 0
}

// AppendTOSMask appends to a mask the fields of the key b that TOS reads: the EtherTypes up to
// the IP header, and the bits there. The key of an 802.2 frame has no EtherType; 0xffff in the
// mask matches the absence.
func AppendTOSMask(e *netlink.Encoder, b []byte) { appendTOSMask(e, b, 0) }

func appendTOSMask(e *netlink.Encoder, b []byte, depth int) {
	AppendEthertype(e, 0xffff)
	inner := netlink.FindAttr(b, KeyAttrEncap)
	switch {
	case inner != nil && depth < maxNesting:
		AppendVLAN(e, 0xffff)
		e.Nested(KeyAttrEncap, func(e *netlink.Encoder) { appendTOSMask(e, inner, depth+1) })
	case len(netlink.FindAttr(b, KeyAttrIPv4)) == ipv4KeyLen:
		var m [ipv4KeyLen]byte
		m[ipv4TOSAt] = DSCPMask
		e.Attr(KeyAttrIPv4, m[:])
	case len(netlink.FindAttr(b, KeyAttrIPv6)) == ipv6KeyLen:
		var m [ipv6KeyLen]byte
		m[ipv6TOSAt] = DSCPMask
		e.Attr(KeyAttrIPv6, m[:])
	}
}
