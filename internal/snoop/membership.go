package snoop

import (
	"net/netip"
	"time"

	"dpifd/internal/odp"
)

// Default times of the protocols, used unless a querier announces others: RFC 3376, 8, and RFC
// 3810, 9.
const (
	defaultRobustness = 2
	defaultInterval   = 125 * time.Second
	defaultResponse   = 10 * time.Second
	lastMemberQuery   = time.Second
)

// querier is the state of the querier of a VLAN.
type querier struct {
	robustness         int
	interval, response time.Duration
	until              int64 // when it counts as gone
}

// membership is the time for which a report is valid: Group Membership Interval of RFC 3376,
// 8.4, Multicast Address Listening Interval of RFC 3810, 9.4.
func (q *querier) membership() time.Duration {
	return time.Duration(q.robustness)*q.interval + q.response
}

// present is the time for which a query shows the presence of a router: Other Querier Present
// Interval of RFC 3376, 8.5, and RFC 3810, 9.5.
func (q *querier) present() time.Duration {
	return time.Duration(q.robustness)*q.interval + q.response/2
}

// IsLinkScope reports whether a group has link scope. Its packets go to all ports, and the
// table keeps no members of it: 224.0.0.0/24 (RFC 4541, 2.1.2) and ff00::/16 to ff02::/16.
func IsLinkScope(group netip.Addr) bool {
	if group.Is4() {
		a := group.As4()
		return a[0] == 224 && a[1] == 0 && a[2] == 0
	}
	a := group.As16()
	return a[0] == 0xff && isLinkScope6(a[1])
}

// isLinkScope6 reports whether a multicast address of IPv6 with this second byte has link scope
// or a smaller one (RFC 4291, 2.7).
func isLinkScope6(b byte) bool { return b&0xf <= 2 }

// Take processes a message that came from a port of a VLAN at nowMS, and reports whether
// decisions change.
func (t *Table) Take(vlan uint16, port odp.PortNo, m *Message, nowMS int64) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	link := linkKey{vlan: vlan, family: ipv4}
	if m.IPv6 {
		link.family = ipv6
	}
	switch m.Kind {
	case Query:
		t.counters.Queries++
		return t.query(link, port, m, nowMS)
	case Report:
		t.counters.Reports++
		for group, joins := range m.Records() {
			if !IsLinkScope(group) && t.report(link, groupKey{vlan, group}, port, joins, nowMS) {
				changed = true
			}
		}
	}
	return changed
}

// NoteMalformed counts a message that Parse refused.
func (t *Table) NoteMalformed() {
	t.mu.Lock()
	t.counters.Malformed++
	t.mu.Unlock()
}

// querier returns the state of the querier, and whether there is one. The caller holds mu.
func (t *Table) querier(link linkKey, nowMS int64) (querier, bool) {
	if q, known := t.queriers[link]; known && q.until > nowMS {
		return q, true
	}
	return querier{robustness: defaultRobustness, interval: defaultInterval, response: defaultResponse}, false
}

// query learns the router and its times. If the query is for a group, the members of that group
// expire unless they answer. The caller holds mu.
func (t *Table) query(link linkKey, port odp.PortNo, m *Message, nowMS int64) (changed bool) {
	q, _ := t.querier(link, nowMS)
	if m.Robustness != 0 {
		q.robustness = m.Robustness
	}
	if m.Interval != 0 {
		q.interval = m.Interval
	}
	if !m.Group.IsValid() {
		q.response = m.MaxResponse
	}
	// A query without a source address comes from a switch that has none (RFC 4541, 2.1.1).
	if !m.Source.IsUnspecified() {
		q.until = nowMS + q.present().Milliseconds()
		t.queriers[link] = q
		changed = t.addRouter(routerKey{link, port}, q.until)
	}
	if m.Group.IsValid() && !m.Suppress && !m.OfSources {
		within := time.Duration(q.robustness) * max(m.MaxResponse, lastMemberQuery)
		t.shorten(groupKey{link.vlan, m.Group}, nowMS+within.Milliseconds())
	}
	return changed
}

// shorten makes the members of a group expire at the given time at the latest, unless they report
// again. The caller holds mu.
func (t *Table) shorten(k groupKey, until int64) {
	m := t.groups[t.hash(k)%shards].groups[k]
	if m == nil {
		return
	}
	for i := range m.until {
		m.until[i] = min(m.until[i], until)
	}
	t.next.Store(min(t.next.Load(), until))
}

// report processes one group of a report. After a leave the port stays a member while other members
// behind it may still answer the querier; without a querier it stays a member for the same time.
// The caller holds mu.
func (t *Table) report(link linkKey, k groupKey, port odp.PortNo, joins bool, nowMS int64) (changed bool) {
	q, known := t.querier(link, nowMS)
	if joins {
		return t.set(k, port, nowMS+q.membership().Milliseconds())
	}
	m := t.groups[t.hash(k)%shards].groups[k]
	if m == nil || known {
		return false
	}
	for i, no := range m.ports {
		if no == port {
			m.until[i] = min(m.until[i], nowMS+(defaultRobustness*lastMemberQuery).Milliseconds())
			t.next.Store(min(t.next.Load(), m.until[i]))
		}
	}
	return false
}
