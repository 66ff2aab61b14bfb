package snoop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"net/netip"
	"time"
)

// ErrMalformed matches the errors of Parse about messages that must be ignored according to
// their protocol. ErrNotSnooped is the error for a frame without IGMP or MLD.
var (
	ErrMalformed  = errors.New("malformed message")
	ErrNotSnooped = errors.New("neither IGMP nor MLD")
)

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
}

// Kind is the kind of a message.
type Kind uint8

const (
	// Other is a message of an unknown type, which goes to all ports.
	Other Kind = iota
	// Query asks for members of a group, or of all.
	Query
	// Report joins or leaves groups.
	Report
)

// Message is one message. It borrows the frame that it was parsed from.
type Message struct {
	Kind    Kind
	IPv6    bool
	Version uint8      // of IGMP or MLD
	Source  netip.Addr // of the IP packet

	// Group is the group that a query asks for; not valid if it asks for all.
	Group       netip.Addr
	MaxResponse time.Duration // within which members answer a query
	// Robustness and Interval are the values of the querier, 0 if its query does not contain
	// them.
	Robustness int
	Interval   time.Duration
	Suppress   bool // other routers must not shorten their timers
	OfSources  bool // the query is for sources of the group, not for the group

	single  netip.Addr // the group of a report that has no records
	leaves  bool       // the report leaves the group
	records []byte
}

// Records returns the groups of a report, and whether each is joined or left.
func (m *Message) Records() iter.Seq2[netip.Addr, bool] {
	return func(yield func(netip.Addr, bool) bool) {
		if m.single.IsValid() {
			yield(m.single, !m.leaves)
			return
		}
		size := m.addressSize()
		for b := m.records; len(b) > 0; {
			typ, group, length := recordOf(b, size)
			joins, tells := changes(typ, int(binary.BigEndian.Uint16(b[2:])))
			if tells && !yield(group, joins) {
				return
			}
			b = b[length:]
		}
	}
}

func (m *Message) addressSize() int {
	if m.IPv6 {
		return 16
	}
	return 4
}

// Types of group records, RFC 3376, 4.2.12, and RFC 3810, 5.2.12.
const (
	modeIsInclude = 1 + iota
	modeIsExclude
	changeToInclude
	changeToExclude
	allowNewSources
	blockOldSources
)

// changes returns whether a record with this number of sources joins or leaves the group. tells is
// false if it does neither.
func changes(typ byte, sources int) (joins, tells bool) {
	switch typ {
	case modeIsExclude, changeToExclude:
		return true, true
	case modeIsInclude, allowNewSources:
		return true, sources > 0
	case changeToInclude:
		return sources > 0, true
	}
	return false, false
}

// recordHeader is the length of a group record without group and sources.
const recordHeader = 4

// recordOf returns the first record's type, group and length.
func recordOf(b []byte, size int) (typ byte, group netip.Addr, length int) {
	group, _ = netip.AddrFromSlice(b[recordHeader : recordHeader+size])
	return b[0], group, recordHeader + size + size*int(binary.BigEndian.Uint16(b[2:])) + 4*int(b[1])
}

// takeRecords checks n group records.
func (m *Message) takeRecords(b []byte, n int) error {
	size, all := m.addressSize(), b
	for i := range n {
		if len(b) < recordHeader+size {
			return malformed("record %d of %d is cut off", i, n)
		}
		_, group, length := recordOf(b, size)
		switch {
		case length > len(b):
			return malformed("record %d of %d is cut off", i, n)
		case !isGroup(group):
			return malformed("record %d: %v is no group", i, group)
		}
		b = b[length:]
	}
	m.records = all[:len(all)-len(b)]
	return nil
}

// isGroup reports whether a is a multicast address, not of IPv4 within IPv6.
func isGroup(a netip.Addr) bool { return a.IsMulticast() && !a.Is4In6() }

// takeGroup parses the group of a query or report.
func (m *Message) takeGroup(b []byte, report bool) error {
	group, _ := netip.AddrFromSlice(b)
	switch {
	case !report && group.IsUnspecified():
		return nil
	case !isGroup(group):
		return malformed("%v is no group", group)
	case report:
		m.single = group
	default:
		m.Group = group
	}
	return nil
}

// takeQuerier parses the querier's values in queries of the last version: S flag and robustness,
// interval, and the number of sources.
func (m *Message) takeQuerier(b []byte) error {
	const fixed = 4
	sources := int(binary.BigEndian.Uint16(b[2:]))
	if len(b) < fixed+sources*m.addressSize() {
		return malformed("query with %d sources is cut off", sources)
	}
	m.Suppress, m.Robustness, m.OfSources = b[0]&8 != 0, int(b[0]&7), sources > 0
	m.Interval = time.Duration(float8(b[1])) * time.Second
	return nil
}

// float8 and float16 decode times, RFC 3376, 4.1.1 and 4.1.7, and RFC 3810, 5.1.3.
func float8(code byte) int {
	if code < 128 {
		return int(code)
	}
	return (int(code&15) | 16) << (code>>4&7 + 3)
}

func float16(code uint16) int {
	if code < 32768 {
		return int(code)
	}
	return (int(code&0xfff) | 0x1000) << (code>>12&7 + 3)
}

// checksum returns the Internet checksum (RFC 1071) of parts; all but the last have an even
// length. It is 0 if the parts contain a correct checksum.
func checksum(parts ...[]byte) uint16 {
	sum := uint32(0)
	for _, b := range parts {
		for len(b) > 1 {
			sum += uint32(binary.BigEndian.Uint16(b))
			b = b[2:]
		}
		if len(b) == 1 {
			sum += uint32(b[0]) << 8
		}
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
