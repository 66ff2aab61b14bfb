package odp

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func TestSelectsFlow(t *testing.T) {
	const (
		web = "in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
			"ipv4(dst=10.1.2.0/255.255.255.0,proto=6,frag=no),tcp(dst=80)"
		wide = "in_port(2),eth(dst=33:33:00:00:00:00/ff:ff:00:00:00:00)"
		vlan = "in_port(3),eth(),eth_type(0x8100),vlan(vid=99,pcp=0/0),encap(eth_type(0x0806),arp(op=1,tip=10.0.0.7))"
		tun  = "tunnel(tun_id=0x7,dst=10.0.0.2,flags(df|key)),in_port(4),eth()"
	)
	flows := []string{web, wide, vlan, tun}
	tests := []struct {
		filter string
		want   []string
	}{
		{"in_port(1)", []string{web}},
		{"in_port(9)", nil},
		{"in_port(0/0)", flows},
		{"in_port(0/0xfffc)", []string{web, wide, vlan}},
		{"eth_type(0x0800)", []string{web}},
		{"eth(dst=02:00:00:00:00:02)", []string{web}},
		{"eth(dst=33:33:00:00:00:00)", []string{wide}}, // wildcarded bits count as zero
		{"eth(dst=33:33:00:00:00:01)", nil},
		{"eth(dst=01:00:00:00:00:00/01:00:00:00:00:00)", []string{wide}},
		{"eth(src=00:00:00:00:00:00)", []string{wide, vlan, tun}},
		{"ipv4(dst=10.1.0.0/255.255.0.0)", []string{web}},
		{"ipv4(dst=10.1.2.3)", nil},
		{"ipv4(dst=10.1.2.3/255.255.255.0)", []string{web}}, // 3 is outside the mask
		{"tcp(dst=80),ipv4(proto=6)", []string{web}},
		{"tcp(dst=80),ipv4(proto=17)", nil},
		{"tcp(dst=81)", nil},
		{"vlan(vid=99)", []string{vlan}},
		{"vlan(vid=99,pcp=3)", nil},
		{"encap(eth_type(0x0806),arp(tip=10.0.0.7))", []string{vlan}},
		{"encap(arp(tip=10.0.0.8))", nil},
		{"tunnel(tun_id=0x7)", []string{tun}},
		{"tunnel(tun_id=0x8)", nil},
	}
	// Each filter also matches packets of the flows listed for it.
	intersecting := map[string][]string{
		"in_port(9)":                    nil,
		"eth_type(0x0800)":              {web, wide, tun},
		"eth(dst=33:33:00:00:00:01)":    {wide, vlan, tun},
		"ipv4(dst=10.1.2.3)":            {web, wide, vlan, tun},
		"ipv4(dst=10.1.3.3)":            {wide, vlan, tun},
		"tcp(dst=81)":                   {wide, vlan, tun},
		"vlan(vid=99,pcp=3)":            {web, wide, vlan, tun},
		"encap(arp(tip=10.0.0.8))":      {web, wide, tun},
		"tunnel(tun_id=0x8),in_port(4)": nil,
	}
	for filter, want := range intersecting {
		w, wMask, err := Text{}.ParseKey(filter)
		if err != nil {
			t.Fatalf("%s: %v", filter, err)
		}
		var got []string
		for _, flow := range flows {
			key, mask, err := Text{}.ParseKey(flow)
			if err != nil {
				t.Fatal(err)
			}
			if Intersects(key, mask, w, wMask) {
				got = append(got, flow)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s intersects %q, want %q", filter, got, want)
		}
	}
	for _, tt := range tests {
		want, wantMask, err := Text{}.ParseKey(tt.filter)
		if err != nil {
			t.Errorf("%s: %v", tt.filter, err)
			continue
		}
		var got []string
		for _, flow := range flows {
			key, mask, err := Text{}.ParseKey(flow)
			if err != nil {
				t.Fatal(err)
			}
			if SelectsFlow(key, mask, want, wantMask) {
				got = append(got, flow)
			}
		}
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s selects %q\nwant %q", tt.filter, got, tt.want)
		}
	}
}

// TestSelectsFlowExact checks flows that are dumped without a mask.
func TestSelectsFlowExact(t *testing.T) {
	key, _, err := Text{}.ParseKey("in_port(1),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)")
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]bool{"eth_type(0x0800)": true, "eth_type(0x0806)": false,
		"eth(src=02:00:00:00:00:01)": true} {
		value, mask, err := Text{}.ParseKey(text)
		if err != nil {
			t.Fatal(err)
		}
		if got := SelectsFlow(key, nil, value, mask); got != want {
			t.Errorf("%s: %v", text, got)
		}
		if SelectsFlow(key, []byte{}, value, mask) {
			t.Errorf("%s selects a flow that wildcards it", text)
		}
	}
	if !SelectsFlow(key, nil, nil, nil) {
		t.Error("the empty filter does not select everything")
	}
}

var bytesAttr = regexp.MustCompile(`key\d`)

// FuzzSelectsFlow: any flow is selected by its own key and mask, and no bytes break the comparison.
func FuzzSelectsFlow(f *testing.F) {
	for _, tt := range keyTests {
		f.Add(tt.in, []byte("\x08\x00\x03\x00\x01\x00\x00\x00"))
	}
	f.Fuzz(func(t *testing.T, text string, other []byte) {
		key, mask, err := Text{}.ParseKey(text)
		if err != nil {
			return
		}
		SelectsFlow(other, mask, key, mask)
		SelectsFlow(key, other, key, other)
		// Keys with more tags than the kernel reads, and attributes given as bytes, which may be
		// malformed, never compare as equal.
		usual := strings.Count(text, "encap(") <= maxNesting && !bytesAttr.MatchString(text)
		if usual && !SelectsFlow(key, mask, key, mask) {
			t.Errorf("%q does not select itself", text)
		}
	})
}
