package snoop

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"dpifd/internal/odp"
)

// take passes the message in a frame to a table.
func take(t *testing.T, table *Table, vlan uint16, port odp.PortNo, frame []byte, now time.Duration) bool {
	t.Helper()
	var m Message
	if err := Parse(frame, &m); err != nil {
		t.Fatal(err)
	}
	return table.Take(vlan, port, &m, now.Milliseconds())
}

func listing(table *Table) string {
	var all []string
	for _, e := range table.Snapshot() {
		what := "router"
		if e.Group.IsValid() {
			what = e.Group.String()
		}
		all = append(all, fmt.Sprintf("%d %s %d", e.VLAN, what, e.Port))
	}
	return strings.Join(all, ", ")
}

// TestTimes: members and routers expire as the protocols specify.
func TestTimes(t *testing.T) {
	const minute = time.Minute
	join := igmp("192.0.2.2", []byte{0x16, 0, 0, 0, 239, 1, 2, 3})
	leave := igmp("192.0.2.2", []byte{0x17, 0, 0, 0, 239, 1, 2, 3})
	query := igmp("192.0.2.1", []byte{0x11, 100, 0, 0, 0, 0, 0, 0})
	fast := igmp("192.0.2.1", []byte{0x11, 50, 0, 0, 0, 0, 0, 0, 3, 20, 0, 0})
	nobody := igmp("0.0.0.0", []byte{0x11, 100, 0, 0, 0, 0, 0, 0})
	specific := igmp("192.0.2.1", []byte{0x11, 10, 0, 0, 239, 1, 2, 3})
	suppressed := igmp("192.0.2.1", []byte{0x11, 10, 0, 0, 239, 1, 2, 3, 10, 125, 0, 0})
	ofSources := igmp("192.0.2.1", []byte{0x11, 10, 0, 0, 239, 1, 2, 3, 2, 125, 0, 1, 192, 0, 2, 9})
	type step struct {
		at    time.Duration
		port  odp.PortNo
		frame []byte
	}
	for _, tt := range []struct {
		name  string
		steps []step
		until time.Duration // when the member expires, from the start
	}{
		{"no querier", []step{{0, 1, join}}, 260 * time.Second},
		{"joined again", []step{{0, 1, join}, {minute, 1, join}}, 320 * time.Second},
		{"left without querier", []step{{0, 1, join}, {minute, 1, leave}}, 62 * time.Second},
		{"left behind another port", []step{{0, 1, join}, {minute, 2, leave}}, 260 * time.Second},
		{"left with a silent querier", []step{{0, 9, query}, {0, 1, join}, {minute, 1, leave}}, 260 * time.Second},
		{"left, and the querier is gone", []step{{0, 9, query}, {200 * time.Second, 1, join}, {5 * minute, 1, leave}}, 302 * time.Second},
		{"asked for", []step{{0, 9, query}, {0, 1, join}, {minute, 9, specific}}, 62 * time.Second},
		{"asked for and answered", []step{{0, 9, query}, {0, 1, join}, {minute, 9, specific}, {61 * time.Second, 1, join}}, 321 * time.Second},
		{"asked for with the S flag", []step{{0, 9, query}, {0, 1, join}, {minute, 9, suppressed}}, 260 * time.Second},
		{"asked for sources", []step{{0, 9, query}, {0, 1, join}, {minute, 9, ofSources}}, 260 * time.Second},
		{"times of the querier", []step{{0, 9, fast}, {0, 1, join}}, 65 * time.Second},
		{"times of no querier", []step{{0, 9, nobody}, {0, 1, join}}, 260 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			table := NewTable(10)
			for _, s := range tt.steps {
				table.Expire(s.at.Milliseconds())
				take(t, table, 5, s.port, s.frame, s.at)
			}
			table.Expire((tt.until - time.Millisecond).Milliseconds())
			if _, known := table.Members(5, addr("239.1.2.3")); !known {
				t.Error("the member has expired too early")
			}
			if !table.Expire(tt.until.Milliseconds()) {
				t.Error("the expiry is not a change")
			}
			if ports, known := table.Members(5, addr("239.1.2.3")); known {
				t.Errorf("the member stays: %v", ports)
			}
		})
	}
	table := NewTable(10)
	take(t, table, 5, 9, fast, 0)
	take(t, table, 5, 8, nobody, 0)
	take(t, table, 6, 7, mld(router, "ff02::1", mld1(130, 10000, "::")), 0)
	if got := listing(table); got != "5 router 9, 6 router 7" {
		t.Errorf("routers: %s", got)
	}
	if got := table.Routers(5, false); !slices.Equal(got, []odp.PortNo{9}) {
		t.Errorf("routers of VLAN 5: %v", got)
	}
	if got := table.Routers(6, false); got != nil {
		t.Errorf("IPv4 routers of VLAN 6: %v", got)
	}
	table.Expire(62_500)
	if got := listing(table); got != "6 router 7" {
		t.Errorf("routers after 62.5 s: %s", got)
	}
	if table.Expire(254_999); listing(table) == "" || !table.Expire(255_000) || listing(table) != "" {
		t.Errorf("routers after 255 s: %s", listing(table))
	}
}

// TestChanges: only groups that were looked up count as changed.
func TestChanges(t *testing.T) {
	table := NewTable(2)
	join := func(port odp.PortNo, last byte) bool {
		return take(t, table, 0, port, igmp("192.0.2.2", []byte{0x16, 0, 0, 0, 239, 1, 2, last}), 0)
	}
	if join(1, 1) {
		t.Error("the group was not looked up")
	}
	table.Members(0, addr("239.1.2.1"))
	table.Members(0, addr("239.1.2.2"))
	if join(1, 1) {
		t.Error("a member joined again")
	}
	if !join(2, 1) || !join(2, 2) {
		t.Error("joins of looked-up groups are not changes")
	}
	if join(3, 1) {
		t.Error("the group was not looked up again")
	}
	before := listing(table)
	table.Members(0, addr("239.1.2.3"))
	if join(2, 3) || listing(table) != before || table.Counters().Refused != 1 {
		t.Errorf("a join over the limit: %s", listing(table))
	}
	if take(t, table, 0, 4, igmp("192.0.2.2", []byte{0x16, 0, 0, 0, 224, 0, 0, 251}), 0) || listing(table) != before {
		t.Errorf("a link-local group is kept: %s", listing(table))
	}
	copied := NewTable(2)
	copied.Restore(table.Snapshot())
	if got := listing(copied); got != before {
		t.Errorf("restored: %s, want %s", got, before)
	}
	table.Members(0, addr("239.1.2.1"))
	if !table.Retain(func(no odp.PortNo) bool { return no != 2 }) || listing(table) != "0 239.1.2.1 1, 0 239.1.2.1 3" {
		t.Errorf("without port 2: %s", listing(table))
	}
	if c := table.Counters(); c.Groups != 2 || c.Reports != 7 {
		t.Errorf("%+v", c)
	}
	allocs := testing.AllocsPerRun(10, func() {
		table.Members(0, addr1)
		table.Members(0, addr2)
		table.Routers(0, true)
	})
	if allocs != 0 {
		t.Errorf("%v allocations", allocs)
	}
}

var addr1, addr2 = addr("239.1.2.1"), addr("ff05::1")

// TestModel compares a table with a simple model under random joins, leaves and queries.
func TestModel(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 9))
	type place struct {
		group netip.Addr
		port  odp.PortNo
	}
	for range 20 {
		table, model := NewTable(1000), map[place]time.Duration{}
		now, querier := time.Duration(0), time.Duration(-1)
		for range 500 {
			now += time.Duration(r.IntN(20_000)) * time.Millisecond
			table.Expire(now.Milliseconds())
			for p, until := range model {
				if until <= now {
					delete(model, p)
				}
			}
			last, port := byte(r.IntN(4)), odp.PortNo(r.IntN(5))
			group := netip.AddrFrom4([4]byte{239, 1, 2, last})
			m := []byte{0x16, 0, 0, 0, 239, 1, 2, last}
			switch r.IntN(6) {
			case 0:
				m[0], m[1] = 0x11, 10
				querier = now + 255*time.Second
				for p := range model {
					if p.group == group {
						model[p] = min(model[p], now+2*time.Second)
					}
				}
			case 1:
				m[0] = 0x17
				if until, is := model[place{group, port}]; is && querier <= now {
					model[place{group, port}] = min(until, now+2*time.Second)
				}
			default:
				model[place{group, port}] = now + 260*time.Second
			}
			take(t, table, 0, port, igmp("192.0.2.2", m), now)
			n := 0
			for _, e := range table.Snapshot() {
				if e.Group.IsValid() {
					n++
					if model[place{e.Group, e.Port}].Milliseconds() != e.UntilMS {
						t.Fatalf("%+v, want until %v", e, model[place{e.Group, e.Port}])
					}
				}
			}
			if n != len(model) || n != table.Counters().Groups {
				t.Fatalf("%d members, %d counted, want %d", n, table.Counters().Groups, len(model))
			}
		}
	}
}
