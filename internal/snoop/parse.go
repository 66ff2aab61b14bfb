package snoop

import (
	"encoding/binary"
	"net/netip"
	"time"
)

const (
	ethernetLen, tagLen = 14, 4
	typeIPv4, typeIPv6  = 0x0800, 0x86dd
	typeVLAN, typeQinQ  = 0x8100, 0x88a8
	maxTags             = 2 // number of tags that the kernel reads

	ipv4Len, ipv6Len       = 20, 40
	protoIGMP, protoICMPv6 = 2, 58
	protoHopByHop          = 0
)

// Parse reads the message in an Ethernet frame. It allocates only for an error, which
// matches ErrMalformed or ErrNotSnooped.
func Parse(frame []byte, m *Message) error {
	*m = Message{}
	for range maxTags {
		if len(frame) < ethernetLen+tagLen {
			break
		}
		if t := binary.BigEndian.Uint16(frame[12:]); t != typeVLAN && t != typeQinQ {
			break
		}
		frame = frame[tagLen:] // the addresses are not read
	}
	if len(frame) < ethernetLen {
		return ErrNotSnooped
	}
	switch packet := frame[ethernetLen:]; binary.BigEndian.Uint16(frame[12:]) {
	case typeIPv4:
		return m.parseIPv4(packet)
	case typeIPv6:
		return m.parseIPv6(packet)
	}
	return ErrNotSnooped
}

func (m *Message) parseIPv4(b []byte) error {
	if len(b) < ipv4Len || b[0]>>4 != 4 || b[9] != protoIGMP {
		return ErrNotSnooped
	}
	header, total := int(b[0]&15)*4, int(binary.BigEndian.Uint16(b[2:]))
	switch {
	case header < ipv4Len || total < header || total > len(b):
		return malformed("IPv4 packet of %d bytes with a header of %d in %d", total, header, len(b))
	case binary.BigEndian.Uint16(b[6:])&0x3fff != 0:
		return malformed("a fragment")
	}
	m.Source = netip.AddrFrom4([4]byte(b[12:16]))
	return m.parseIGMP(b[header:total])
}

// Types of IGMP messages.
const (
	igmpQuery   = 0x11
	igmpReport1 = 0x12
	igmpReport2 = 0x16
	igmpLeave   = 0x17
	igmpReport3 = 0x22

	igmpLen, igmpQuery3Len = 8, 12
	tenth                  = time.Second / 10
	igmpV1Response         = 10 * time.Second // RFC 2236, 4
)

func (m *Message) parseIGMP(b []byte) error {
	if len(b) < igmpLen {
		return malformed("%d bytes of IGMP", len(b))
	}
	if checksum(b) != 0 {
		return malformed("wrong checksum of IGMP")
	}
	switch b[0] {
	case igmpQuery:
		return m.parseIGMPQuery(b)
	case igmpReport1, igmpReport2, igmpLeave:
		m.Kind, m.Version, m.leaves = Report, 2, b[0] == igmpLeave
		if b[0] == igmpReport1 {
			m.Version = 1
		}
		return m.takeGroup(b[4:8], true)
	case igmpReport3:
		m.Kind, m.Version = Report, 3
		return m.takeRecords(b[igmpLen:], int(binary.BigEndian.Uint16(b[6:])))
	}
	return nil
}

// parseIGMPQuery distinguishes versions as in RFC 3376, 7.1.
func (m *Message) parseIGMPQuery(b []byte) error {
	m.Kind, m.MaxResponse = Query, time.Duration(b[1])*tenth
	switch {
	case len(b) >= igmpQuery3Len:
		m.Version, m.MaxResponse = 3, time.Duration(float8(b[1]))*tenth
		if err := m.takeQuerier(b[8:]); err != nil {
			return err
		}
	case len(b) != igmpLen:
		return malformed("query of %d bytes", len(b))
	case b[1] == 0:
		m.Version, m.MaxResponse = 1, igmpV1Response
	default:
		m.Version = 2
	}
	return m.takeGroup(b[4:8], false)
}

func (m *Message) parseIPv6(b []byte) error {
	if len(b) < ipv6Len || b[0]>>4 != 6 {
		return ErrNotSnooped
	}
	length, next := int(binary.BigEndian.Uint16(b[4:])), b[6]
	src, dst := b[8:24], b[24:40]
	hops := b[7]
	if length > len(b)-ipv6Len {
		return malformed("IPv6 packet of %d bytes in %d", length, len(b)-ipv6Len)
	}
	b = b[ipv6Len : ipv6Len+length]
	if next == protoHopByHop {
		if len(b) < 8 || len(b) < 8*(int(b[1])+1) {
			return malformed("IPv6 options are cut off")
		}
		next, b = b[0], b[8*(int(b[1])+1):]
	}
	if next != protoICMPv6 || len(b) == 0 {
		return ErrNotSnooped
	}
	m.IPv6, m.Source = true, netip.AddrFrom16([16]byte(src))
	if err := m.parseMLD(b); err != nil || m.Kind == Other {
		return err
	}
	var pseudo [8]byte
	binary.BigEndian.PutUint32(pseudo[:], uint32(len(b)))
	pseudo[7] = protoICMPv6
	switch {
	case checksum(src, dst, pseudo[:], b) != 0:
		return malformed("wrong checksum of ICMPv6")
	case hops != 1:
		return malformed("hop limit %d", hops)
	case !m.Source.IsLinkLocalUnicast() && (m.Kind == Query || !m.Source.IsUnspecified()):
		return malformed("source %v is not of the link", m.Source)
	}
	return nil
}

// Types of ICMPv6 messages that belong to MLD.
const (
	mldQuery   = 130
	mldReport1 = 131
	mldDone    = 132
	mldReport2 = 143

	mldLen, mldQuery2Len, mldReport2Len = 24, 28, 8
)

// isMLD reports whether a type of ICMPv6 messages belongs to MLD.
func isMLD(typ byte) bool {
	return typ >= mldQuery && typ <= mldDone || typ == mldReport2
}

func (m *Message) parseMLD(b []byte) error {
	if !isMLD(b[0]) {
		return ErrNotSnooped
	}
	if b[0] == mldReport2 {
		if len(b) < mldReport2Len {
			return malformed("%d bytes of MLD", len(b))
		}
		m.Kind, m.Version = Report, 2
		return m.takeRecords(b[mldReport2Len:], int(binary.BigEndian.Uint16(b[6:])))
	}
	if len(b) < mldLen {
		return malformed("%d bytes of MLD", len(b))
	}
	m.Version = 1
	if b[0] != mldQuery {
		m.Kind, m.leaves = Report, b[0] == mldDone
		return m.takeGroup(b[8:24], true)
	}
	m.Kind, m.MaxResponse = Query, time.Duration(binary.BigEndian.Uint16(b[4:]))*time.Millisecond
	switch {
	case len(b) >= mldQuery2Len:
		m.Version, m.MaxResponse = 2, time.Duration(float16(binary.BigEndian.Uint16(b[4:])))*time.Millisecond
		if err := m.takeQuerier(b[24:]); err != nil {
			return err
		}
	case len(b) != mldLen:
		return malformed("query of %d bytes", len(b))
	}
	return m.takeGroup(b[8:24], false)
}
