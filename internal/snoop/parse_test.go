package snoop

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// fix writes the checksum of an IGMP message.
func fix(b []byte) []byte {
	b[2], b[3] = 0, 0
	binary.BigEndian.PutUint16(b[2:], checksum(b))
	return b
}

// igmp wraps a message in a frame with the router alert option and tags.
func igmp(src string, message []byte, tags ...uint16) []byte {
	b := make([]byte, 12)
	for _, tag := range tags {
		b = binary.BigEndian.AppendUint16(b, tag)
		b = append(b, 0x60, 5)
	}
	b = append(b, 8, 0, 0x46, 0xc0, 0, byte(24+len(message)), 0, 0, 0, 0, 1, 2, 0, 0)
	b = append(b, addr(src).AsSlice()...)
	b = append(b, 224, 0, 0, 22, 0x94, 4, 0, 0)
	b = append(b, fix(slices.Clone(message))...)
	return append(b, make([]byte, max(0, 60-len(b)))...)
}

// mld wraps a message in a frame with the router alert option.
func mld(src, dst string, message []byte) []byte {
	message = slices.Clone(message)
	binary.BigEndian.PutUint16(message[2:], 0)
	pseudo := []byte{0, 0, 0, byte(len(message)), 0, 0, 0, 58}
	binary.BigEndian.PutUint16(message[2:], checksum(addr(src).AsSlice(), addr(dst).AsSlice(), pseudo, message))
	b := append(make([]byte, 12), 0x86, 0xdd, 0x60, 0, 0, 0, 0, byte(8+len(message)), 0, 1)
	b = slices.Concat(b, addr(src).AsSlice(), addr(dst).AsSlice(), []byte{58, 0, 5, 2, 0, 0, 1, 0}, message)
	return b
}

// record is a group record without auxiliary data.
func record(typ byte, group string, sources ...string) []byte {
	b := []byte{typ, 0, 0, byte(len(sources))}
	b = append(b, addr(group).AsSlice()...)
	for _, s := range sources {
		b = append(b, addr(s).AsSlice()...)
	}
	return b
}

func report3(records ...[]byte) []byte {
	return append([]byte{0x22, 0, 0, 0, 0, 0, 0, byte(len(records))}, slices.Concat(records...)...)
}

func report2(records ...[]byte) []byte {
	return append([]byte{143, 0, 0, 0, 0, 0, 0, byte(len(records))}, slices.Concat(records...)...)
}

func mld1(typ byte, response uint16, group string, more ...byte) []byte {
	b := []byte{typ, 0, 0, 0, byte(response >> 8), byte(response), 0, 0}
	return slices.Concat(b, addr(group).AsSlice(), more)
}

const router = "fe80::1"

// messages are valid frames and their meaning.
var messages = []struct {
	name  string
	frame []byte
	want  string
}{
	{"v1 query", igmp("192.0.2.1", []byte{0x11, 0, 0, 0, 0, 0, 0, 0}), "query 4.1 of 192.0.2.1 response 10s"},
	{"v2 query", igmp("192.0.2.1", []byte{0x11, 100, 0, 0, 0, 0, 0, 0}), "query 4.2 of 192.0.2.1 response 10s"},
	{"v2 query for a group", igmp("192.0.2.1", []byte{0x11, 10, 0, 0, 239, 1, 2, 3}), "query 4.2 of 192.0.2.1 response 1s for 239.1.2.3"},
	{"v3 query", igmp("192.0.2.1", []byte{0x11, 100, 0, 0, 0, 0, 0, 0, 2, 125, 0, 0}), "query 4.3 of 192.0.2.1 response 10s robustness 2 interval 2m5s"},
	{"v3 query of long times", igmp("192.0.2.1", []byte{0x11, 0x80, 0, 0, 0, 0, 0, 0, 7, 0xff, 0, 0}), "query 4.3 of 192.0.2.1 response 12.8s robustness 7 interval 8h49m4s"},
	{"v3 query for sources", igmp("192.0.2.1", []byte{0x11, 10, 0, 0, 232, 1, 2, 3, 10, 125, 0, 1, 192, 0, 2, 9}), "query 4.3 of 192.0.2.1 response 1s for 232.1.2.3 robustness 2 interval 2m5s suppressed"},
	{"v1 report", igmp("192.0.2.2", []byte{0x12, 0, 0, 0, 239, 1, 2, 3}), "report 4.1 of 192.0.2.2 +239.1.2.3"},
	{"v2 report without address", igmp("0.0.0.0", []byte{0x16, 0, 0, 0, 239, 1, 2, 3}), "report 4.2 of 0.0.0.0 +239.1.2.3"},
	{"v2 report behind tags", igmp("192.0.2.2", []byte{0x16, 0, 0, 0, 239, 1, 2, 3}, 0x88a8, 0x8100), "report 4.2 of 192.0.2.2 +239.1.2.3"},
	{"v2 leave", igmp("192.0.2.2", []byte{0x17, 0, 0, 0, 239, 1, 2, 3}), "report 4.2 of 192.0.2.2 -239.1.2.3"},
	{"v3 report", igmp("192.0.2.2", report3(record(1, "239.1.1.1"), record(1, "239.1.1.2", "192.0.2.9"), record(2, "239.1.1.3"), record(3, "239.1.1.4"),
		record(3, "239.1.1.5", "192.0.2.9"), record(4, "239.1.1.6"), record(5, "239.1.1.7", "192.0.2.9"),
		record(6, "239.1.1.8", "192.0.2.9"), record(7, "239.1.1.9"))),
		"report 4.3 of 192.0.2.2 +239.1.1.2 +239.1.1.3 -239.1.1.4 +239.1.1.5 +239.1.1.6 +239.1.1.7"},
	{"v3 report with auxiliary data", igmp("192.0.2.2", report3([]byte{4, 1, 0, 0, 239, 1, 2, 3, 9, 9, 9, 9}, record(4, "239.1.2.4"))), "report 4.3 of 192.0.2.2 +239.1.2.3 +239.1.2.4"},
	{"empty v3 report", igmp("192.0.2.2", report3()), "report 4.3 of 192.0.2.2"},
	{"PIM hello of version 1", igmp("192.0.2.2", []byte{0x14, 0, 0, 0, 0, 0, 0, 0}), "other 4.0 of 192.0.2.2"},

	{"MLDv1 query", mld(router, "ff02::1", mld1(130, 10000, "::")), "query 6.1 of fe80::1 response 10s"},
	{"MLDv1 query for a group", mld(router, "ff05::5", mld1(130, 1000, "ff05::5")), "query 6.1 of fe80::1 response 1s for ff05::5"},
	{"MLDv2 query", mld(router, "ff02::1", mld1(130, 0x8123, "::", 2, 125, 0, 0)), "query 6.2 of fe80::1 response 35.096s robustness 2 interval 2m5s"},
	{"MLDv1 report", mld("fe80::2", "ff05::5", mld1(131, 0, "ff05::5")), "report 6.1 of fe80::2 +ff05::5"},
	{"MLDv1 done", mld("fe80::2", "ff02::2", mld1(132, 0, "ff05::5")), "report 6.1 of fe80::2 -ff05::5"},
	{"MLDv2 report without address", mld("::", "ff02::16", report2(record(4, "ff05::5"), record(3, "ff05::6"))), "report 6.2 of :: +ff05::5 -ff05::6"},
}

func describe(m *Message) string {
	kind := map[Kind]string{Query: "query", Report: "report", Other: "other"}[m.Kind]
	family := 4
	if m.IPv6 {
		family = 6
	}
	s := fmt.Sprintf("%s %d.%d of %v", kind, family, m.Version, m.Source)
	if m.Kind == Query {
		s += fmt.Sprint(" response ", m.MaxResponse)
	}
	if m.Group.IsValid() {
		s += fmt.Sprint(" for ", m.Group)
	}
	if m.Robustness != 0 {
		s += fmt.Sprintf(" robustness %d interval %v", m.Robustness, m.Interval)
	}
	if m.Suppress {
		s += " suppressed"
	}
	for group, joins := range m.Records() {
		s += map[bool]string{true: " +", false: " -"}[joins] + group.String()
	}
	return s
}

func TestParse(t *testing.T) {
	for _, tt := range messages {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			if err := Parse(tt.frame, &m); err != nil {
				t.Fatal(err)
			}
			if got := describe(&m); got != tt.want {
				t.Errorf("%s\nwant %s", got, tt.want)
			}
			if n := testing.AllocsPerRun(10, func() { _ = Parse(tt.frame, &m) }); n != 0 {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

func TestParseErrors(t *testing.T) {
	change := func(frame []byte, at int, b byte) []byte {
		frame = slices.Clone(frame)
		frame[at] = b
		return frame
	}
	query := igmp("192.0.2.1", []byte{0x11, 100, 0, 0, 0, 0, 0, 0})
	query6 := mld(router, "ff02::1", mld1(130, 10000, "::"))
	for _, tt := range []struct {
		name  string
		frame []byte
		want  error
	}{
		{"empty", nil, ErrNotSnooped},
		{"another protocol", change(query, 23, 17), ErrNotSnooped},
		{"another EtherType", change(query, 12, 9), ErrNotSnooped},
		{"IPv4 cut off", query[:30], ErrNotSnooped},
		{"IGMP cut off", query[:40], ErrMalformed},
		{"fragment", change(query, 20, 0x20), ErrMalformed},
		{"header longer than the packet", change(query, 14, 0x4f), ErrMalformed},
		{"wrong checksum", change(query, 40, 1), ErrMalformed},
		{"query of 10 bytes", igmp("192.0.2.1", []byte{0x11, 100, 0, 0, 0, 0, 0, 0, 0, 0}), ErrMalformed},
		{"query for a station", igmp("192.0.2.1", []byte{0x11, 100, 0, 0, 192, 0, 2, 1}), ErrMalformed},
		{"query with fewer sources", igmp("192.0.2.1", []byte{0x11, 10, 0, 0, 232, 1, 2, 3, 2, 125, 0, 1}), ErrMalformed},
		{"report of a station", igmp("192.0.2.1", []byte{0x16, 0, 0, 0, 192, 0, 2, 1}), ErrMalformed},
		{"report of fewer records", igmp("192.0.2.1", []byte{0x22, 0, 0, 0, 0, 0, 0, 1}), ErrMalformed},
		{"record of fewer sources", igmp("192.0.2.1", []byte{0x22, 0, 0, 0, 0, 0, 0, 1, 4, 0, 0xff, 0xff, 239, 1, 2, 3}), ErrMalformed},
		{"record of a station", igmp("192.0.2.1", report3(record(4, "192.0.2.1"))), ErrMalformed},
		{"ICMPv6 of another type", mld(router, "ff02::1", mld1(128, 0, "::")), ErrNotSnooped},
		{"MLD cut off", mld(router, "ff02::1", mld1(130, 0, "::")[:20]), ErrMalformed},
		{"IPv6 cut off", query6[:70], ErrMalformed},
		{"hop limit", change(query6, 21, 64), ErrMalformed},
		{"wrong checksum of MLD", change(query6, 66, 77), ErrMalformed},
		{"MLD query of 26 bytes", mld(router, "ff02::1", mld1(130, 0, "::", 0, 0)), ErrMalformed},
		{"query without address", mld("::", "ff02::1", mld1(130, 0, "::")), ErrMalformed},
		{"query of another link", mld("2001:db8::1", "ff02::1", mld1(130, 0, "::")), ErrMalformed},
		{"report of a station of IPv6", mld(router, "ff02::16", report2(record(4, "2001:db8::1"))), ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var m Message
			if err := Parse(tt.frame, &m); !errors.Is(err, tt.want) {
				t.Errorf("%v, want %v", err, tt.want)
			}
		})
	}
}

func TestFloat(t *testing.T) {
	for code, want := range map[byte]int{0: 0, 127: 127, 128: 128, 0x8f: 248, 0x90: 256, 0xff: 31744} {
		if got := float8(code); got != want {
			t.Errorf("%#x: %d, want %d", code, got, want)
		}
	}
	for code, want := range map[uint16]int{0: 0, 32767: 32767, 32768: 32768, 0x8fff: 65528, 0xffff: 8387584} {
		if got := float16(code); got != want {
			t.Errorf("%#x: %d, want %d", code, got, want)
		}
	}
}

// FuzzParse: for any input, groups are multicast addresses of one family, and times are within
// their bounds.
func FuzzParse(f *testing.F) {
	for _, m := range messages {
		f.Add(m.frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m Message
		if err := Parse(frame, &m); err != nil {
			if !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotSnooped) {
				t.Fatal(err)
			}
			return
		}
		check := func(group netip.Addr) {
			if !group.IsMulticast() || group.Is4() == m.IPv6 || group.Is4In6() {
				t.Fatalf("%s: group %v", describe(&m), group)
			}
		}
		if m.Group.IsValid() {
			check(m.Group)
		}
		n := 0
		for group := range m.Records() {
			check(group)
			n++
		}
		if n > len(frame)/8 || n > 0 && m.Kind != Report || m.MaxResponse < 0 || m.MaxResponse > 3*time.Hour ||
			m.Robustness > 7 {
			t.Fatalf("%s: %d groups of %d bytes", describe(&m), n, len(frame))
		}
	})
}
