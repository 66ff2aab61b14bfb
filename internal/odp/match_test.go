package odp_test

import (
	"testing"

	"dpifd/internal/odp"
)

func TestSelects(t *testing.T) {
	const (
		plain = "recirc_id(0),skb_priority(0),in_port(3),skb_mark(0),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)," +
			"eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64,frag=no),udp(src=5000,dst=53)"
		tagged = "in_port(3),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x8100),vlan(vid=10,pcp=0)," +
			"encap(eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=1,tos=0,ttl=64,frag=no),icmp(type=8,code=0))"
		untyped = "in_port(3),eth(src=02:00:00:00:00:01,dst=01:80:c2:00:00:00)"
	)
	for _, tc := range []struct {
		key, filter string
		want        bool
	}{
		{plain, "in_port(3)", true},
		{plain, "in_port(2)", false},
		{plain, "eth(src=02:00:00:00:00:01)", true},
		{plain, "eth(dst=02:00:00:00:00:01)", false},
		{plain, "eth(src=02:00:00:00:00:ff/ff:ff:00:00:00:00)", true},
		{plain, "eth(src=02:01:00:00:00:00/ff:ff:00:00:00:00)", false},
		{plain, "eth_type(0x0800),ipv4(dst=10.0.0.0/255.255.255.0),udp(dst=53)", true},
		{plain, "eth_type(0x0800),ipv4(dst=10.0.1.0/255.255.255.0)", false},
		{plain, "eth_type(0x0806)", false},
		{plain, "tcp(dst=53)", false},
		{plain, "eth_type(0x8100),vlan(vid=10)", false},
		{tagged, "eth_type(0x8100),vlan(vid=10)", true},
		{tagged, "eth_type(0x8100),vlan(vid=11)", false},
		{tagged, "eth_type(0x8100),vlan(vid=10),encap(eth_type(0x0800),ipv4(proto=1))", true},
		{tagged, "eth_type(0x8100),vlan(vid=10),encap(eth_type(0x0800),ipv4(proto=6))", false},
		{untyped, "in_port(3)", true},
		{untyped, "eth_type(0x0800)", false},
	} {
		key, _, err := odp.Text{}.ParseKey(tc.key)
		if err != nil {
			t.Fatalf("%s: %v", tc.key, err)
		}
		want, mask, err := odp.Text{}.ParseKey(tc.filter)
		if err != nil {
			t.Fatalf("%s: %v", tc.filter, err)
		}
		if got := odp.Selects(key, want, mask); got != tc.want {
			t.Errorf("filter %s on %s: %v, want %v", tc.filter, tc.key, got, tc.want)
		}
		if odp.Selects(key[:len(key)-3], want, mask) && !tc.want {
			t.Errorf("filter %s on a cut key: true", tc.filter)
		}
	}
	key, _, _ := odp.Text{}.ParseKey(plain)
	want, mask, _ := odp.Text{}.ParseKey("eth_type(0x0800),ipv4(dst=10.0.0.0/255.255.255.0),udp(dst=53)")
	if n := testing.AllocsPerRun(100, func() { odp.Selects(key, want, mask) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestMasked(t *testing.T) {
	key, _, err := odp.Text{}.ParseKey("in_port(3),eth(src=02:00:00:00:00:01,dst=33:33:00:00:00:16),eth_type(0x8100)," +
		"vlan(vid=10,pcp=3),encap(eth_type(0x0800),ipv4(src=10.1.2.3,dst=10.0.0.2,proto=1,tos=0,ttl=64,frag=no))")
	if err != nil {
		t.Fatal(err)
	}
	const want = "in_port(3),eth(src=02:00:00:00:00:01,dst=33:00:00:00:00:00/ff:00:00:00:00:00),eth_type(0x8100)," +
		"vlan(vid=10,pcp=3),encap(eth_type(0x0800),ipv4(src=10.1.0.0/255.255.0.0))"
	_, mask, err := odp.Text{}.ParseKey(want)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(odp.Text{}.AppendKey(nil, odp.Masked(key, mask), mask)); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzSelects(f *testing.F) {
	for _, text := range []string{
		"in_port(3),eth(src=02:00:00:00:00:01,dst=33:33:00:00:00:16),eth_type(0x8100),vlan(vid=10,pcp=3),encap(eth_type(0x0800))",
		"tunnel(tun_id=0x7,src=10.0.0.1,dst=10.0.0.2,ttl=64,flags(key)),in_port(1),eth_type(0x0806)",
	} {
		key, mask, err := odp.Text{}.ParseKey(text)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(key, key, mask)
		f.Add(key[:len(key)-2], mask, key)
	}
	f.Fuzz(func(t *testing.T, key, want, mask []byte) {
		odp.Selects(key, want, mask)
		odp.Masked(want, mask)
		if _, _, err := (odp.Text{}).ParseKey(string(odp.Text{}.AppendKey(nil, key, nil))); err == nil &&
			!odp.Selects(key, key, nil) {
			t.Errorf("a filter without mask refuses %x", key)
		}
	})
}
